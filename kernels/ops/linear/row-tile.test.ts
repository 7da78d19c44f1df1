import { describe, test } from "vitest";
import { dequantiseRow } from "../../spec/dequantise.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { randomPacked } from "../../testing/pack.ts";
import { seeded } from "../../testing/seeded.ts";
import { roundedActivationTolerance } from "../../testing/tolerances.ts";
import { linear } from "./linear.ts";

const K = 288;
const R = 19;

// Rows of x are multiplied six, four, three or two at once, and 132 of them with a group of weights before the next.
forEachBackend("linear of so many rows", (backend) => {
  describe.each(["q8_0", "q4_0", "q4_k", "q5_k", "q6_k"] as const)("with %s weights", (dtype) => {
    test.each([2, 3, 4, 5, 8, 16, 31, 32, 34, 131, 133, 265])("%i", async (rows) => {
      const random = seeded(rows);
      const cols = dtype === "q8_0" || dtype === "q4_0" ? K : 512;
      const values = randomPacked(random, dtype, R, cols, 1 / Math.sqrt(cols));
      const x = random.normal(rows * cols);
      const weights = new Float32Array(R * cols);
      const packed = new DataView(values.buffer);
      for (let row = 0; row < R; row++)
        dequantiseRow(dtype, packed, row, weights.subarray(row * cols, (row + 1) * cols));
      await expectLikeReference(
        backend(),
        {
          batch: 1,
          length: rows,
          inputs: { x: { cols, values: x, margin: [32, 5] } },
          states: {},
          weights: { weight: { rows: R, cols, dtype, values, use: "matrix" } },
          record: (k, { inputs, weights: { weight } }) => linear(k, inputs.x, weight),
        },
        roundedActivationTolerance(backend().device.features, x, weights, cols),
      );
    });
  });
});
