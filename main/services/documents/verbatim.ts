/** Answers that were meant to repeat a sentence: small models drop and change words on the way. */

/** Share of an answer's words that stand in the sentence, in its order, where the answer repeats it. */
const REPEATED = 0.8;
/** Fewer words are an answer of their own; */
const LEAST = 4;
/** of fewer than these, none may be another one than the sentence's. */
const LONG = 8;
/** Words that are compared; longer ones are no answers. */
const MOST = 160;

interface Word {
  readonly plain: string;
  readonly start: number;
  readonly end: number;
}

/**
 * The part of a sentence that an answer repeats with faults, in the sentence's own words: to its end where the answer breaks off within
 * a clause. Null where the answer is no repetition, shortens the sentence ("The code is 12."), or has no fault.
 */
export function repeatedPart(answer: string, sentence: string): string | null {
  const [said, given] = [wordsIn(answer), wordsIn(sentence)];
  if (said.length < LEAST || said.length > MOST || given.length > MOST) return null;
  const aligned = alignedWith(said, given);
  const last = aligned.at(-1);
  if (last === undefined) return null;
  // From its end back, so that a word which the sentence has earlier, too, does not stretch the part.
  const back = alignedWith(said.toReversed(), given.slice(0, last + 1).toReversed());
  const first = last - (back.at(-1) ?? last);
  if (aligned.length < REPEATED * said.length) return null;
  const next = given[last + 1];
  // "He works as a piano" of "He works as a piano tuner": nothing but a space stands between the two.
  const isBroken = next !== undefined && /^\s*$/.test(sentence.slice(given[last]?.end, next.start));
  const isBeginning = last + 1 === said.length && aligned.length === said.length;
  const isChanged = aligned.length < said.length && said.length >= LONG;
  if (!isChanged && !(isBeginning && isBroken)) return null;
  const end = isBroken ? sentence.length : (given[last]?.end ?? sentence.length);
  const part = sentence.slice(given[first]?.start, end).trim();
  return /[.!?]$/.test(part) ? part : `${part}.`;
}

function wordsIn(text: string): Word[] {
  return Array.from(text.matchAll(/[\p{L}\p{N}]+/gu), ({ 0: word, index }) => ({
    plain: word.toLowerCase(),
    start: index,
    end: index + word.length,
  }));
}

/** Indices into `given` of a longest common subsequence (Wagner and Fischer 1974). */
function alignedWith(said: readonly Word[], given: readonly Word[]): number[] {
  const width = given.length + 1;
  // lengths[i * width + j]: of what follows said[i] and given[j].
  const lengths = new Uint16Array((said.length + 1) * width);
  for (let i = said.length - 1; i >= 0; i--)
    for (let j = given.length - 1; j >= 0; j--)
      lengths[i * width + j] =
        said[i]?.plain === given[j]?.plain
          ? (lengths[(i + 1) * width + j + 1] ?? 0) + 1
          : Math.max(lengths[(i + 1) * width + j] ?? 0, lengths[i * width + j + 1] ?? 0);
  const aligned: number[] = [];
  for (let i = 0, j = 0; i < said.length && j < given.length;) {
    if (said[i]?.plain === given[j]?.plain) {
      aligned.push(j);
      i++;
      j++;
    } else if ((lengths[(i + 1) * width + j] ?? 0) >= (lengths[i * width + j + 1] ?? 0)) i++;
    else j++;
  }
  return aligned;
}
