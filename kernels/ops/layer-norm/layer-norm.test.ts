import { test } from "vitest";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { layerNorm } from "./layer-norm.ts";

forEachBackend("layer-norm", (backend) => {
  test("takes the mean away and divides by the deviation", async () => {
    const { y } = await runOp(backend(), {
      batch: 1,
      length: 1,
      inputs: { x: { cols: 4, values: Float32Array.of(101, 103, 97, 99) } },
      states: {},
      weights: {
        weight: { rows: 1, cols: 4, values: Float32Array.of(1, 2, 3, 0) },
        bias: { rows: 1, cols: 4, values: Float32Array.of(0, 0, 10, 7) },
      },
      record: (k, { inputs, weights }) => layerNorm(k, { ...inputs, ...weights, eps: 0 }),
    });
    // The mean is 100, the variance 5.
    const unit = 1 / Math.sqrt(5);
    expectAllClose(y, [unit, 6 * unit, 10 - 9 * unit, 7], { absolute: 2e-6, relative: 0 }, "y");
  });

  test.each([
    { batch: 1, length: 1, groups: 1, groupSize: 1, affine: true },
    { batch: 2, length: 3, groups: 1, groupSize: 31, affine: true },
    { batch: 1, length: 2, groups: 5, groupSize: 13, affine: true },
    { batch: 3, length: 1, groups: 4, groupSize: 64, affine: false },
    { batch: 1, length: 2, groups: 1, groupSize: 1000, affine: true },
  ])(
    "agrees with the reference: $batch × $length, $groups groups of $groupSize",
    async ({ batch, length, groups, groupSize, affine }) => {
      const random = seeded(groupSize);
      const cols = groups * groupSize;
      // A mean that is large against the deviation: a variance made of raw squares would cancel, and f32 sums of 20s
      // are off by 1e-6, which is then divided by the deviation.
      const values = random.normal(batch * length * cols, 0.5).map((value) => value + 20);
      await expectLikeReference(
        backend(),
        {
          batch,
          length,
          inputs: { x: { cols, values, margin: [4, 5] } },
          states: {},
          weights: {
            weight: { rows: 1, cols, values: random.normal(cols) },
            bias: { rows: 1, cols, values: random.normal(cols) },
          },
          record: (k, { inputs, weights }) =>
            layerNorm(k, {
              x: inputs.x,
              weight: affine ? weights.weight : null,
              bias: affine ? weights.bias : null,
              eps: 1e-5,
              groupSize,
            }),
        },
        { absolute: 4e-5, relative: 0 },
      );
    },
  );
});
