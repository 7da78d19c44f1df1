import { describe, test } from "vitest";
import type { WeightDType } from "../../spec/dtype.ts";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp, type OpTrial } from "../../testing/op-runner.ts";
import { randomPacked } from "../../testing/pack.ts";
import { seeded } from "../../testing/seeded.ts";
import { blockLinear } from "./block-linear.ts";

interface Size {
  readonly batch: number;
  readonly length: number;
  readonly nBlock: number;
  /** K, columns of a block of x. */
  readonly inputs: number;
  /** R, columns of a block of y. */
  readonly outputs: number;
}

function trial(size: Size, dtype: WeightDType): OpTrial<"x", never, "weight" | "bias"> {
  const { batch, length, nBlock, inputs: K, outputs: R } = size;
  const random = seeded(K * 31 + R);
  return {
    batch,
    length,
    inputs: {
      x: { cols: nBlock * K, values: random.normal(batch * length * nBlock * K), margin: [3, 5] },
    },
    states: {},
    weights: {
      weight: {
        rows: nBlock * R,
        cols: K,
        dtype,
        values: randomPacked(random, dtype, nBlock * R, K, 1 / Math.sqrt(K)),
        use: "matrix",
      },
      bias: { rows: 1, cols: nBlock * R, values: random.normal(nBlock * R) },
    },
    record: (k, { inputs, weights }) =>
      blockLinear(k, {
        x: inputs.x,
        weight: weights.weight,
        nBlock,
        bias: length === 1 ? null : weights.bias,
      }),
  };
}

forEachBackend("block-linear", (backend) => {
  test("multiplies each block of columns by its own matrix", async () => {
    const { y } = await runOp(backend(), {
      batch: 1,
      length: 1,
      inputs: { x: { cols: 4, values: Float32Array.of(1, 2, 3, 4) } },
      states: {},
      weights: {
        weight: {
          rows: 4,
          cols: 2,
          // Blocks of 2 × 2: the first swaps, the second adds and subtracts.
          values: Float32Array.of(0, 1, 1, 0, 1, 1, 1, -1),
          use: "matrix",
        },
        bias: { rows: 1, cols: 4, values: Float32Array.of(0, 0, 0, 10) },
      },
      record: (k, { inputs, weights }) => blockLinear(k, { ...inputs, ...weights, nBlock: 2 }),
    });
    expectAllClose(y, [2, 1, 7, 9], { absolute: 0, relative: 0 }, "y");
  });

  describe.each(["f32", "f16", "bf16", "q8_0"] as const)("with %s weights", (dtype) => {
    test.each([
      { batch: 1, length: 1, nBlock: 4, inputs: 32, outputs: 12 },
      { batch: 2, length: 3, nBlock: 3, inputs: 64, outputs: 3 },
      { batch: 1, length: 9, nBlock: 2, inputs: 160, outputs: 40 },
      { batch: 5, length: 1, nBlock: 1, inputs: 32, outputs: 9 },
    ])(
      "agrees with the reference: $batch × $length, $nBlock blocks $inputs → $outputs",
      async (size) => {
        await expectLikeReference(backend(), trial(size, dtype));
      },
    );
  });

  test.each(["q4_0", "q4_k", "q5_k", "q6_k"] as const)("takes %s weights", async (dtype) => {
    for (const length of [1, 6]) {
      const size = { batch: 1, length, nBlock: 3, inputs: 256, outputs: 7 };
      await expectLikeReference(backend(), trial(size, dtype));
    }
  });

  test.each(["f32", "f16", "bf16"] as const)("takes %s blocks of any width", async (dtype) => {
    const one = { batch: 1, length: 1, nBlock: 7, inputs: 1, outputs: 1 };
    const odd = { batch: 2, length: 5, nBlock: 5, inputs: 13, outputs: 7 };
    await expectLikeReference(backend(), trial(one, dtype));
    await expectLikeReference(backend(), trial(odd, dtype));
  });
});
