/**
 * ln softmax(logits)[id]: how likely a token was before any sampling option, in natural logarithms.
 * @param logits (vocabSize)
 * @throws RangeError for an id that has no logit
 */
export function logProbability(logits: Float32Array, id: number): number {
  const chosen = logits[id];
  if (chosen === undefined) throw new RangeError(`token ${id} of ${logits.length} logits`);
  let largest = -Infinity;
  for (const logit of logits) if (logit > largest) largest = logit;
  return chosen - largest - Math.log(sumOfExponentials(logits, largest));
}

/** The same for each row of (ids.length, vocabSize) logits and its id. */
export function logProbabilities(logits: Float32Array, ids: Int32Array): number[] {
  const vocabSize = logits.length / ids.length;
  return Array.from(ids, (id, row) =>
    logProbability(logits.subarray(row * vocabSize, (row + 1) * vocabSize), id),
  );
}

/** 2^-n. */
const halves = Float64Array.from({ length: 128 }, (_, n) => 2 ** -n);

/**
 * Σ e^(logit − largest), within 2e-9 of it: 2^x = 2^-n · 2^f with |f| ≤ 1/2 and a minimax polynomial. `Math.exp` takes
 * four times as long, and a batch asks for a vocabulary of it a branch and token.
 */
function sumOfExponentials(logits: Float32Array, largest: number): number {
  let sum = 0;
  for (const logit of logits) {
    const x = (largest - logit) * Math.LOG2E;
    // What is left out is less than 2^-126 of the largest; NaN is not.
    if (x > 126) continue;
    const n = Math.floor(x + 0.5);
    const f = n - x;
    const q =
      0.6931471824645996 +
      f *
        (0.24022647738456726 +
          f *
            (0.055503323674201965 +
              f *
                (0.00961843691766262 + f * (0.0013398875016719103 + f * 0.00015353361959569156))));
    sum += (1 + f * q) * (halves[n] ?? NaN);
  }
  return sum;
}
