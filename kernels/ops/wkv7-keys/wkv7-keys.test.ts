import { test } from "vitest";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp, type OpTrial } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import type { Recorder } from "../../spec/op.ts";
import type { Tensor } from "../../spec/tensor.ts";
import { wkv7Keys } from "./wkv7-keys.ts";

type Given = Parameters<OpTrial<"k" | "w" | "a", never, "removal" | "replacement">["record"]>[1];

/** All four results lie in one tensor, of which the first is the beginning. */
function record(k: Recorder, given: Given, nHead: number): Tensor {
  return wkv7Keys(k, { ...given.inputs, ...given.weights, nHead, eps: 1e-24 }).w;
}

forEachBackend("wkv7-keys", (backend) => {
  test("makes decay, rate and both keys", async () => {
    const { y } = await runOp(backend(), {
      batch: 1,
      length: 1,
      inputs: {
        k: { cols: 4, values: Float32Array.of(3, 8, 0, 0) },
        w: { cols: 4, values: Float32Array.of(0, 100, -100, 0) },
        a: { cols: 4, values: Float32Array.of(0, 100, -100, 0) },
      },
      states: {},
      weights: {
        removal: { rows: 1, cols: 4, values: Float32Array.of(1, 0.5, 1, 1) },
        replacement: { rows: 1, cols: 4, values: Float32Array.of(0.5, 1, 1, 1) },
      },
      record: (k, given) => record(k, given, 2),
    });
    const half = Math.exp(-Math.exp(-0.5) / 2);
    const expected = [
      [half, Math.exp(-Math.exp(-0.5)), 1, half],
      [0.5, 1, 0, 0.5],
      // (3, 4) over 5; a head of zeros stays one.
      [0.6, 0.8, 0, 0],
      [2.25, 8, 0, 0],
    ].flat();
    expectAllClose(y, expected, { absolute: 1e-6, relative: 0 }, "y");
  });

  test.each([
    { rows: 1, nHead: 1, headDim: 1 },
    { rows: 1, nHead: 3, headDim: 64 },
    { rows: 5, nHead: 2, headDim: 7 },
    { rows: 3, nHead: 5, headDim: 18 },
  ])("agrees with the reference: $rows rows, $nHead heads of $headDim", async (size) => {
    const { rows, nHead, headDim } = size;
    const cols = nHead * headDim;
    const random = seeded(cols);
    await expectLikeReference(backend(), {
      batch: 1,
      length: rows,
      inputs: {
        k: { cols, values: random.normal(rows * cols), margin: [2, 1] },
        w: { cols, values: random.normal(rows * cols, 4), margin: [0, 4] },
        a: { cols, values: random.normal(rows * cols, 2), margin: [1, 0] },
      },
      states: {},
      weights: {
        removal: { rows: 1, cols, values: random.normal(cols) },
        replacement: { rows: 1, cols, values: random.uniform(cols, 0, 1) },
      },
      record: (k, given) => record(k, given, nHead),
    });
  });
});
