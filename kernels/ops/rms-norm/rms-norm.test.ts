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

  test("takes the L2 norm of groups, without a weight", async () => {
    const { y } = await runOp(backend(), {
      batch: 1,
      length: 1,
      inputs: { x: { cols: 4, values: Float32Array.of(3, 4, 0, -2) } },
      states: {},
      weights: {},
      record: (k, { inputs }) =>
        rmsNorm(k, { x: inputs.x, weight: null, eps: 0, groupSize: 2, over: "sum" }),
    });
    expectAllClose(y, [0.6, 0.8, 0, -1], { absolute: 1e-6, relative: 0 }, "y");
  });

  test.each([
    { batch: 1, length: 1, groups: 4, groupSize: 12, own: "all", over: "mean" },
    { batch: 2, length: 3, groups: 3, groupSize: 7, own: "one", over: "mean" },
    { batch: 1, length: 5, groups: 2, groupSize: 64, own: "none", over: "sum" },
    { batch: 1, length: 2, groups: 3, groupSize: 300, own: "one", over: "sum" },
  ] as const)(
    "agrees with the reference: $groups groups of $groupSize, $own weighted, over the $over",
    async ({ batch, length, groups, groupSize, own, over }) => {
      const random = seeded(groupSize);
      const cols = groups * groupSize;
      const weightCols = own === "all" ? cols : groupSize;
      await expectLikeReference(backend(), {
        batch,
        length,
        inputs: {
          x: { cols, values: random.normal(batch * length * cols, 2), margin: [3, 1] },
        },
        states: {},
        weights: { weight: { rows: 1, cols: weightCols, values: random.normal(weightCols) } },
        record: (k, { inputs, weights }) =>
          rmsNorm(k, {
            x: inputs.x,
            weight: own === "none" ? null : weights.weight,
            eps: 1e-6,
            groupSize,
            over,
          }),
      });
    },
  );
});
