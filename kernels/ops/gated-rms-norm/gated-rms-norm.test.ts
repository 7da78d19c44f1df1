import { test } from "vitest";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { gatedRmsNorm } from "./gated-rms-norm.ts";

forEachBackend("gated-rms-norm", (backend) => {
  test("gates first and norms within groups", async () => {
    const { y } = await runOp(backend(), {
      batch: 1,
      length: 1,
      inputs: {
        x: { cols: 4, values: Float32Array.of(3, 3, 8, 0) },
        // silu(0) = 0, and silu(100) = 100 to the last bit of f32.
        z: { cols: 4, values: Float32Array.of(100, 0, 100, 100) },
      },
      states: {},
      weights: { weight: { rows: 1, cols: 4, values: Float32Array.of(1, 1, 2, 1) } },
      record: (k, { inputs, weights }) =>
        gatedRmsNorm(k, { ...inputs, weight: weights.weight, eps: 0, groupSize: 2 }),
    });
    const root2 = Math.SQRT2;
    expectAllClose(y, [root2, 0, 2 * root2, 0], { absolute: 1e-6, relative: 0 }, "y");
  });

  test.each([
    { batch: 1, length: 1, dInner: 1, groupSize: 1 },
    { batch: 2, length: 3, dInner: 33, groupSize: 11 },
    { batch: 1, length: 4, dInner: 127, groupSize: 127 },
    { batch: 2, length: 1, dInner: 258, groupSize: 129 },
    { batch: 1, length: 2, dInner: 1024, groupSize: 1024 },
  ])(
    "agrees with the reference: $batch × $length × $dInner in groups of $groupSize",
    async (size) => {
      const { batch, length, dInner, groupSize } = size;
      const random = seeded(dInner);
      await expectLikeReference(backend(), {
        batch,
        length,
        inputs: {
          x: { cols: dInner, values: random.normal(batch * length * dInner, 2), margin: [1, 0] },
          z: { cols: dInner, values: random.normal(batch * length * dInner, 4), margin: [0, 7] },
        },
        states: {},
        weights: { weight: { rows: 1, cols: dInner, values: random.normal(dInner) } },
        record: (k, { inputs, weights }) =>
          gatedRmsNorm(k, { ...inputs, weight: weights.weight, eps: 1e-5, groupSize }),
      });
    },
  );
});
