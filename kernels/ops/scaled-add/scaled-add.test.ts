import { test } from "vitest";
import { columns } from "../../spec/views.ts";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { scaledAdd } from "./scaled-add.ts";

forEachBackend("scaled-add", (backend) => {
  test("adds two tensors, each with its factor, and a bias", async () => {
    const { y } = await runOp(backend(), {
      batch: 1,
      length: 2,
      inputs: {
        a: { cols: 2, values: Float32Array.of(1, 2, 3, 4) },
        b: { cols: 2, values: Float32Array.of(10, 20, 30, 40) },
      },
      states: {},
      weights: {
        bScale: { rows: 1, cols: 2, values: Float32Array.of(1, -1) },
        bias: { rows: 1, cols: 2, values: Float32Array.of(100, 200) },
      },
      record: (k, { inputs, weights }) => scaledAdd(k, { ...inputs, ...weights, aScale: 2 }),
    });
    expectAllClose(y, [112, 184, 136, 168], { absolute: 0, relative: 0 }, "y");
  });

  test.each([
    { batch: 1, length: 1, cols: 1, a: "number", b: "number", bias: true },
    { batch: 2, length: 3, cols: 31, a: "columns", b: "none", bias: false },
    { batch: 1, length: 2, cols: 64, a: "columns", b: "columns", bias: true },
    { batch: 3, length: 1, cols: 129, a: "number", b: "columns", bias: false },
    { batch: 1, length: 1, cols: 1030, a: "number", b: "number", bias: true },
  ] as const)(
    "agrees with the reference: $batch × $length × $cols, a by $a, b by $b, bias $bias",
    async ({ batch, length, cols, a, b, bias }) => {
      const random = seeded(cols);
      const values = batch * length * cols;
      await expectLikeReference(backend(), {
        batch,
        length,
        inputs: {
          a: { cols, values: random.normal(values), margin: [2, 3] },
          b: { cols, values: random.normal(values), margin: [0, 1] },
        },
        states: {},
        weights: {
          aScale: { rows: 1, cols, values: random.normal(cols) },
          bScale: { rows: 1, cols, values: random.normal(cols) },
          bias: { rows: 1, cols, values: random.normal(cols) },
        },
        record: (k, { inputs, weights }) =>
          scaledAdd(k, {
            a: inputs.a,
            aScale: a === "number" ? 0.7 : weights.aScale,
            b: b === "none" ? null : inputs.b,
            bScale: b === "columns" ? weights.bScale : -1.3,
            bias: bias ? weights.bias : null,
          }),
      });
    },
  );

  test("puts two tensors side by side, and writes over what it reads", async () => {
    const random = seeded(7);
    await expectLikeReference(backend(), {
      batch: 1,
      length: 3,
      inputs: {
        a: { cols: 5, values: random.normal(15) },
        b: { cols: 6, values: random.normal(18) },
        wide: { cols: 11, values: random.normal(33) },
      },
      states: {},
      weights: {},
      record: (k, { inputs }) => {
        const wide = scaledAdd(k, { a: inputs.wide });
        scaledAdd(k, { a: inputs.a, into: columns(wide, 0, 5) });
        scaledAdd(k, { a: inputs.b, into: columns(wide, 5, 6) });
        const part = columns(wide, 4, 5);
        scaledAdd(k, { a: part, aScale: 0.5, b: inputs.a, into: part });
        return wide;
      },
    });
  });
});
