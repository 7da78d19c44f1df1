import { expect, test } from "vitest";
import { seeded } from "../../../kernels/testing/seeded.ts";
import { decodeF32 } from "../convert.ts";
import { quantise } from "./quantise.ts";

/** Root of the mean squared error of Gaussian values, in their standard deviation. Uniform rounding would do a little worse. */
const ERRORS = { q4_0: 0.1, q4_k: 0.075, q5_k: 0.038, q6_k: 0.02 } as const;

test.each(Object.entries(ERRORS))(
  "%s keeps Gaussian values within %d of their deviation",
  (name, most) => {
    const dtype = name as keyof typeof ERRORS;
    const values = seeded(5).normal(256 * 40, 0.7);
    const back = decodeF32(dtype, quantise(dtype, values), values.length);
    const squares = values.reduce((sum, value, i) => sum + (value - (back[i] ?? 0)) ** 2, 0);
    expect(Math.sqrt(squares / values.length) / 0.7).toBeLessThan(most);
  },
);

test.each(Object.keys(ERRORS))(
  "%s keeps zeros, constants and lone outliers finite and near",
  (name) => {
    const dtype = name as keyof typeof ERRORS;
    const cases = [
      new Float32Array(256),
      new Float32Array(256).fill(0.25),
      new Float32Array(256).fill(-0.25),
      Float32Array.from({ length: 256 }, (_, i) => (i === 17 ? 3 : 0)),
      Float32Array.from({ length: 256 }, (_, i) => (i === 200 ? -3 : 1e-4 * i)),
    ];
    for (const values of cases) {
      const back = decodeF32(dtype, quantise(dtype, values), 256);
      const largest = Math.max(...values.map(Math.abs));
      values.forEach((value, i) =>
        expect(Math.abs(value - (back[i] ?? NaN))).toBeLessThanOrEqual(0.07 * largest + 1e-7),
      );
    }
  },
);
