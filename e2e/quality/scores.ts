/** How an answer is judged. Case, punctuation and white space do not count. */

/** "The code is 4,471." → the, code, is, 4471 */
export function wordsOf(text: string): string[] {
  return text
    .toLowerCase()
    .replaceAll(/(?<=\d),(?=\d)/g, "")
    .replaceAll(/[^\p{L}\p{N}]+/gu, " ")
    .trim()
    .split(" ")
    .filter((word) => word !== "");
}

/** Whether the answer is one of these, word for word. */
export function exactMatch(answer: string, whole: readonly string[]): boolean {
  const said = wordsOf(answer).join(" ");
  return whole.some((one) => wordsOf(one).join(" ") === said);
}

/** Whether these words stand in the answer, side by side. */
export function contains(answer: string, value: string): boolean {
  return ` ${wordsOf(answer).join(" ")} `.includes(` ${wordsOf(value).join(" ")} `);
}

/** The harmonic mean of precision and recall over words, as for SQuAD (Rajpurkar et al. 2016); the best of all that count as the answer. */
export function tokenF1(answer: string, whole: readonly string[]): number {
  const said = wordsOf(answer);
  return Math.max(
    ...whole.map((one) => {
      const left = wordsOf(one);
      const wanted = left.length;
      let shared = 0;
      for (const word of said) {
        const at = left.indexOf(word);
        if (at < 0) continue;
        left.splice(at, 1);
        shared++;
      }
      return shared === 0 ? 0 : (2 * shared) / (said.length + wanted);
    }),
  );
}
