import { expect, test } from "vitest";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { rope } from "./rope.ts";

forEachBackend("rope", (backend) => {
  test.each([0, 1, 1000, 99_999, 999_999])(
    "turns by the angle's sine and cosine at position %i",
    async (position) => {
      // Powers of two: their products with a position are exact in f32, so that the angle is no matter of rounding.
      const frequencies = Float32Array.of(1, 0.5, 0.125, 2 ** -10);
      const x = seeded(1).normal(8);
      const { y } = await runOp(backend(), {
        batch: 1,
        length: 1,
        position,
        inputs: { x: { cols: 8, values: x } },
        states: {},
        weights: { frequencies: { rows: 1, cols: 4, values: frequencies } },
        record: (k, { inputs, weights }) =>
          rope(k, { x: inputs.x, frequencies: weights.frequencies, headDim: 8, pairs: "halves" }),
      });
      const expected = new Float64Array(8);
      frequencies.forEach((frequency, i) => {
        const angle = position * frequency;
        expected[i] = x[i] * Math.cos(angle) - x[i + 4] * Math.sin(angle);
        expected[i + 4] = x[i + 4] * Math.cos(angle) + x[i] * Math.sin(angle);
      });
      expectAllClose(y, expected, { absolute: 2e-6, relative: 0 }, "y");
    },
  );

  test.each([
    { pairs: "halves", headDim: 64, rotaryDim: 64, offset: 0 },
    { pairs: "neighbours", headDim: 64, rotaryDim: 64, offset: 0 },
    { pairs: "halves", headDim: 10, rotaryDim: 6, offset: 3 },
    { pairs: "neighbours", headDim: 10, rotaryDim: 6, offset: 4 },
    { pairs: "halves", headDim: 2, rotaryDim: 2, offset: 0 },
    { pairs: "neighbours", headDim: 21, rotaryDim: 18, offset: 1 },
  ] as const)(
    "agrees with the reference: $pairs, $rotaryDim of $headDim from $offset",
    async ({ pairs, headDim, rotaryDim, offset }) => {
      const random = seeded(headDim);
      const half = rotaryDim / 2;
      await expectLikeReference(
        backend(),
        {
          batch: 3,
          length: 4,
          position: [0, 70_000, 3],
          inputs: { x: { cols: 3 * headDim, values: random.normal(36 * headDim), margin: [2, 3] } },
          states: {},
          weights: {
            frequencies: {
              rows: 1,
              cols: half,
              values: Float32Array.from({ length: half }, (_, i) => 10_000 ** (-i / half)),
            },
          },
          record: (k, { inputs, weights }) =>
            rope(k, {
              x: inputs.x,
              frequencies: weights.frequencies,
              headDim,
              offset,
              pairs,
              scale: 1.25,
            }),
        },
        { absolute: 1e-5, relative: 0 },
      );
    },
  );

  test("refuses more columns than a head has", async () => {
    const turned = runOp(backend(), {
      batch: 1,
      length: 1,
      inputs: { x: { cols: 8, values: new Float32Array(8) } },
      states: {},
      weights: { frequencies: { rows: 1, cols: 4, values: new Float32Array(4) } },
      record: (k, { inputs, weights }) =>
        rope(k, {
          x: inputs.x,
          frequencies: weights.frequencies,
          headDim: 8,
          offset: 1,
          pairs: "halves",
        }),
    });
    await expect(turned).rejects.toMatchObject({ name: "KernelError", code: "shape" });
  });
});
