import { test } from "vitest";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { rmsNorm } from "./rms-norm.ts";

forEachBackend("rms-norm", (backend) => {
  test("divides by the root of the mean square", async () => {
    const { y } = await runOp(backend(), {
      batch: 1,
      length: 1,
      inputs: { x: { cols: 4, values: Float32Array.of(1, -1, 7, 7) } },
      states: {},
      weights: { weight: { rows: 1, cols: 4, values: Float32Array.of(1, 2, 3, 0) } },
      record: (k, { inputs, weights }) =>
        rmsNorm(k, { x: inputs.x, weight: weights.weight, eps: 0 }),
    });
    // The mean square is 25.
    expectAllClose(y, [0.2, -0.4, 4.2, 0], { absolute: 1e-6, relative: 0 }, "y");
  });

  test.each([
    { batch: 1, length: 1, dModel: 1 },
    { batch: 2, length: 3, dModel: 31 },
    { batch: 1, length: 5, dModel: 127 },
    { batch: 3, length: 1, dModel: 129 },
    { batch: 1, length: 2, dModel: 1000 },
  ])("agrees with the reference: $batch × $length × $dModel", async ({ batch, length, dModel }) => {
    const random = seeded(dModel);
    await expectLikeReference(backend(), {
      batch,
      length,
      inputs: {
        x: { cols: dModel, values: random.normal(batch * length * dModel, 3), margin: [4, 5] },
      },
      states: {},
      weights: { weight: { rows: 1, cols: dModel, values: random.normal(dModel) } },
      record: (k, { inputs, weights }) =>
        rmsNorm(k, { x: inputs.x, weight: weights.weight, eps: 1e-5 }),
    });
  });
});
