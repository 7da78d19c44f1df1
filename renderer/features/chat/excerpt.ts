/** The sentence of a passage that a question is most likely about, with what stands around it. */
export interface Excerpt {
  readonly before: string;
  readonly sentence: string;
  readonly after: string;
  /** False where the passage shares no word with the question: it is context, and nothing of it is marked. */
  readonly telling: boolean;
}

/** Characters shown on either side of the sentence. */
const AROUND = 110;

/** Text without punctuation makes endless sentences. */
const LONGEST_SENTENCE = 320;

/** Words that stand in every question and say nothing of what is asked. */
const EMPTY_WORDS = new Set(
  "about according and are can could did does find for from had has have her his how into its many much not off out said say says should tell that the their them then there they this was were what when where which who whose why will with would you your".split(
    " ",
  ),
);

/** Words shorter than this say little either. */
const SHORTEST_WORD = 3;

/** Picks the sentence that shares the most words with the question; the first one where none does. */
export function excerptFor(text: string, question: string): Excerpt {
  const plain = text.replace(/\s+/gu, " ").trim();
  const asked = new Set(wordsOf(question));
  const sentences = [...new Intl.Segmenter("en", { granularity: "sentence" }).segment(plain)];
  let best = { index: 0, segment: plain.slice(0, AROUND), shared: 0 };
  for (const { index, segment } of sentences) {
    const shared = new Set(wordsOf(segment).filter((word) => asked.has(word))).size;
    if (shared > best.shared) best = { index, segment, shared };
  }
  const sentence = best.segment.trim().slice(0, LONGEST_SENTENCE);
  const from = Math.max(0, best.index - AROUND);
  const end = best.index + sentence.length;
  const to = Math.min(plain.length, end + AROUND);
  return {
    before: `${from > 0 ? "… " : ""}${plain.slice(from, best.index)}`,
    sentence,
    after: `${plain.slice(end, to)}${to < plain.length ? " …" : ""}`,
    telling: best.shared > 0,
  };
}

function wordsOf(text: string): string[] {
  return (text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []).filter(
    (word) => word.length >= SHORTEST_WORD && !EMPTY_WORDS.has(word),
  );
}
