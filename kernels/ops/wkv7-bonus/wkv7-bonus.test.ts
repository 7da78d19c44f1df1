import { expect, test } from "vitest";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { wkv7Bonus } from "./wkv7-bonus.ts";

forEachBackend("wkv7-bonus", (backend) => {
  test("adds the value as often as receptance and key agree, then gates", async () => {
    const { y } = await runOp(backend(), {
      batch: 1,
      length: 1,
      inputs: {
        x: { cols: 2, values: Float32Array.of(1, 2) },
        r: { cols: 4, values: Float32Array.of(1, 2, 3, 4) },
        k: { cols: 4, values: Float32Array.of(1, 1, 2, -1) },
        v: { cols: 2, values: Float32Array.of(10, 100) },
        g: { cols: 2, values: Float32Array.of(2, 0.5) },
      },
      states: {},
      weights: { weight: { rows: 1, cols: 4, values: Float32Array.of(1, 0.5, 1, 1) } },
      record: (k, { inputs, weights }) => wkv7Bonus(k, { ...inputs, ...weights, nHead: 2 }),
    });
    // r · (ρ ⊙ k) is 2 in both heads.
    expect([...y]).toEqual([42, 101]);
  });

  test.each([
    { rows: 1, nHead: 1, keyDim: 1, valueDim: 1 },
    { rows: 1, nHead: 3, keyDim: 64, valueDim: 64 },
    { rows: 5, nHead: 2, keyDim: 7, valueDim: 5 },
    { rows: 3, nHead: 4, keyDim: 6, valueDim: 18 },
  ])(
    "agrees with the reference: $rows rows, $nHead heads of ($valueDim, $keyDim)",
    async (size) => {
      const { rows, nHead, keyDim, valueDim } = size;
      const [keys, values] = [nHead * keyDim, nHead * valueDim];
      const random = seeded(keys);
      await expectLikeReference(backend(), {
        batch: 1,
        length: rows,
        inputs: {
          x: { cols: values, values: random.normal(rows * values), margin: [1, 0] },
          r: { cols: keys, values: random.normal(rows * keys), margin: [0, 5] },
          k: { cols: keys, values: random.normal(rows * keys), margin: [2, 2] },
          v: { cols: values, values: random.normal(rows * values) },
          g: { cols: values, values: random.normal(rows * values), margin: [0, 1] },
        },
        states: {},
        weights: { weight: { rows: 1, cols: keys, values: random.normal(keys) } },
        record: (k, { inputs, weights }) => wkv7Bonus(k, { ...inputs, ...weights, nHead }),
      });
    },
  );
});
