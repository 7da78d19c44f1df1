/** Parts of one that e^−x is tabled at: from one to the next three terms of its series are exact to 1.6e-10. */
const STEPS = 128;

/** What is less likely by a factor of e^45 adds nothing, of a million tokens neither. */
const REACH = 45;

const POWERS = Float64Array.from({ length: STEPS * REACH }, (_, step) => Math.exp(-step / STEPS));

/**
 * ln softmax(logits)[id]: how likely a token was before any sampling option, in natural logarithms.
 * @param logits (vocabSize)
 * @throws RangeError for an id that has no logit
 */
export function logProbability(logits: Float32Array, id: number): number {
  const chosen = logits[id];
  if (chosen === undefined) throw new RangeError(`token ${id} of ${logits.length} logits`);
  // By index: an iterator of a typed array takes five times as long, and a batch walks a vocabulary a branch and token.
  let largest = -Infinity;
  for (let i = 0; i < logits.length; i++) {
    const logit = logits[i] ?? NaN;
    if (logit > largest) largest = logit;
  }
  // From the largest, so that nothing overflows.
  return chosen - largest - Math.log(sumOfPowers(logits, largest));
}

/** Σ e^(logit − largest), within 1e-9 of it. A batch needs one a branch and token, and Math.exp takes four times as long. */
function sumOfPowers(logits: Float32Array, largest: number): number {
  let sum = 0;
  for (let i = 0; i < logits.length; i++) {
    const steps = (largest - (logits[i] ?? NaN)) * STEPS;
    if (steps >= STEPS * REACH) continue;
    const whole = steps | 0;
    const rest = (steps - whole) / STEPS;
    sum += (POWERS[whole] ?? 0) * (1 - rest * (1 - rest * (1 / 2 - rest / 6)));
  }
  return sum;
}

/** The same for each row of (ids.length, vocabSize) logits and its id. */
export function logProbabilities(logits: Float32Array, ids: Int32Array): number[] {
  const vocabSize = logits.length / ids.length;
  return Array.from(ids, (id, row) =>
    logProbability(logits.subarray(row * vocabSize, (row + 1) * vocabSize), id),
  );
}
