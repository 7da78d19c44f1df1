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
 * A product with weights in blocks on a backend that rounds activations in blocks of 32, to 8 bits ("int8-activations") or
 * 16 ("int16-activations"): each product is off by at most 1/254 (1/65534) of the block's largest activation, and the
 * errors of K products add like a random walk. One that rounds both factors to f16 ("f16-products") is off by 2⁻¹⁰.
 * @param inputs the activations; @param weights the dequantised weights of all rows; @param K values summed up
 */
export function roundedActivationTolerance(
  features: readonly string[],
  inputs: ArrayLike<number>,
  weights: ArrayLike<number>,
  K: number,
): Tolerance | undefined {
  const steps = features.includes("int8-activations")
    ? 254
    : features.includes("int16-activations")
      ? 65534
      : features.includes("f16-products")
        ? 1024
        : null;
  if (steps === null) return undefined;
  return {
    absolute: Math.max(1e-5, (largest(inputs) / steps) * largest(weights) * Math.sqrt(K) * 2),
    relative: 1e-5,
  };
}

/**
 * Three products one behind the other whose factors may be rounded to f16: each is off by 2⁻¹¹ of itself at most, and errors
 * are independent, so the worst of many sums is off by a few times that of the largest. Sums at wrong places would be off by
 * their own size.
 */
export function roundedFactorsTolerance(expected: ArrayLike<number>): Tolerance {
  return { absolute: 2 ** -9 * largest(expected), relative: 0 };
}
