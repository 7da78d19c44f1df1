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
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp((logits[i] ?? NaN) - largest);
  return chosen - largest - Math.log(sum);
}

/** The same for each row of (ids.length, vocabSize) logits and its id. */
export function logProbabilities(logits: Float32Array, ids: Int32Array): number[] {
  const vocabSize = logits.length / ids.length;
  return Array.from(ids, (id, row) =>
    logProbability(logits.subarray(row * vocabSize, (row + 1) * vocabSize), id),
  );
}
