/** Where sentences begin and end in extracted text, for citing and reading less than a passage. */

/** UTF-16 offsets, `end` behind the last character. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** A full stop behind one of these ends no sentence, nor does one behind a single capital ("J. S. Bach"). */
const ABBREVIATION =
  /(?:^|[\s("'“‘[])(?:\p{Lu}|(?:\p{L}\.)+\p{L}|Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|Gen|Col|Lt|Capt|Gov|Rev|Hon|No|Nos|Vol|Fig|Inc|Ltd|Co|vs|etc|cf|al|approx|est|ca|pp?)\.$/u;
const END =
  /[.!?…]+["'”’)\]]*(?=\s)|[。！？]+["'”’」』）]*|\n\s*\n|\n(?=\s*(?:[-*•#|]|\d+[.)]\s))/gu;
/** What has no full stop for so long is cut, so that a table cannot be one sentence. */
const LONGEST = 600;

/** Sentences, headings and list items of `text` between two offsets, in order, without the white space around them. */
export function sentencesIn(text: string, from = 0, to = text.length): Span[] {
  const spans: Span[] = [];
  let start = from;
  const close = (end: number): void => {
    for (let at = start; at < end;) {
      const cut = end - at <= LONGEST ? end : lastSpace(text, at, at + LONGEST);
      const span = trimmed(text, at, cut);
      if (span !== null) spans.push(span);
      at = cut;
    }
    start = end;
  };
  END.lastIndex = from;
  for (let match = END.exec(text); match !== null && match.index < to; match = END.exec(text)) {
    const end = Math.min(match.index + match[0].length, to);
    if (match[0].startsWith(".") && ABBREVIATION.test(text.slice(Math.max(start, end - 24), end)))
      continue;
    close(end);
  }
  close(to);
  return spans;
}

function trimmed(text: string, from: number, to: number): Span | null {
  const piece = text.slice(from, to);
  const body = piece.trim();
  if (body === "") return null;
  const start = from + piece.indexOf(body);
  return { start, end: start + body.length };
}

function lastSpace(text: string, from: number, to: number): number {
  const space = text.lastIndexOf(" ", to);
  if (space > from) return space;
  const code = text.charCodeAt(to);
  return code >= 0xdc00 && code <= 0xdfff ? to - 1 : to;
}
