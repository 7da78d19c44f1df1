/** English words that say nothing about what a question is after. Lower case. */
export const STOP_WORDS: ReadonlySet<string> = new Set(
  `a about according after again all also am an and any are as at be because been before being between both but by can could did do does
  doing down during each find for from further get give had has have having he her here hers him his how i if in into is it its
  just let like list made make many may me mention mentioned might more most much must my no nor not now of off on once one only
  or other our out over own page pages please quote said same say says section sentence shall she should show so some such tell
  text than thank thanks that the their them then there these they this those through to told too under until up us very was way we were what
  when where which while who whom whose why will with word words would you your document passage describe
  explain complete sentence mentions look heading headings title topic summary summarize summarise overview content contents list quote`.split(
    /\s+/,
  ),
);
