import { largest, type Tolerance } from "./all-close.ts";

/** What a backend may differ from the golden kernel outputs, in f32: grows with the largest value and the sequence. */
export function kernelTolerance(expected: ArrayLike<number>, length: number): Tolerance {
  return { absolute: (length <= 256 ? 1e-5 : 1e-4) * Math.max(1, largest(expected)), relative: 0 };
}

/** Logits of the golden models, whose standard deviation is about 2. */
export const LOGITS: Tolerance = { absolute: 1e-3, relative: 0 };

/** Recurrent states of the golden models. */
export const STATES: Tolerance = { absolute: 1e-4, relative: 1e-4 };

/**
 * A product with q8_0 weights on a backend that rounds activations to 8 bits in blocks of 32: each product is off by at
 * most 1/254 of the block's largest activation, and the errors of K products add like a random walk.
 * @param inputs the activations; @param weights the dequantised weights of all rows; @param K values summed up
 */
export function int8ActivationTolerance(inputs: ArrayLike<number>, weights: ArrayLike<number>, K: number): Tolerance {
  return { absolute: (largest(inputs) / 254) * largest(weights) * Math.sqrt(K) * 2, relative: 1e-5 };
}
