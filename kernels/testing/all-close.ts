/** How far a value may be from the expected one: |actual − expected| ≤ absolute + relative · |expected|. */
export interface Tolerance {
  readonly absolute: number;
  readonly relative: number;
}

/**
 * Fails unless every value is within the tolerance; says where it is worst.
 * @throws Error naming `what`, the worst index, both values and the bound; also for different lengths and for NaN
 */
export function expectAllClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  { absolute, relative }: Tolerance,
  what: string,
): void {
  if (actual.length !== expected.length) {
    throw new Error(`${what}: ${actual.length} values, expected ${expected.length}`);
  }
  let worst = -1;
  let worstExcess = 0;
  let wrong = 0;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs((actual[i] ?? NaN) - (expected[i] ?? NaN));
    const excess = error - (absolute + relative * Math.abs(expected[i] ?? NaN));
    if (excess <= 0) continue;
    wrong++;
    // NaN on either side gives a NaN excess: the worst there is.
    if (worst === -1 || Number.isNaN(excess) || excess > worstExcess) {
      worst = i;
      worstExcess = Number.isNaN(excess) ? Infinity : excess;
    }
  }
  if (wrong > 0) {
    throw new Error(
      `${what}: ${wrong} of ${expected.length} values are off; worst at ${worst}: ${actual[worst]}, expected ` +
        `${expected[worst]} ± ${absolute} ± ${relative} relative`,
    );
  }
}

/** The largest |value|. */
export function largest(values: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) most = Math.max(most, Math.abs(values[i] ?? NaN));
  return most;
}

/** The largest |actual − expected|. */
export function furthest(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  return Array.from(actual).reduce(
    (most, value, i) => Math.max(most, Math.abs(value - (expected[i] ?? NaN))),
    0,
  );
}
