import { describe, test } from "vitest";
import { columns } from "../../spec/views.ts";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { gate } from "./gate.ts";

forEachBackend("gate", (backend) => {
  test("multiplies each group of columns by its gate", async () => {
    const { y } = await runOp(backend(), {
      batch: 1,
      length: 2,
      inputs: {
        a: { cols: 2, values: Float32Array.of(-1, 2, 3, -4) },
        b: { cols: 4, values: Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8) },
      },
      states: {},
      weights: {},
      record: (k, { inputs }) => gate(k, { ...inputs, act: "relu" }),
    });
    expectAllClose(y, [0, 0, 6, 8, 15, 18, 0, 0], { absolute: 0, relative: 0 }, "y");
  });

  describe.each(["silu", "sigmoid", "gelu_tanh", "identity"] as const)("with %s", (act) => {
    test.each([
      { batch: 1, length: 1, gates: 1, repeat: 1 },
      { batch: 2, length: 3, gates: 35, repeat: 1 },
      { batch: 1, length: 2, gates: 4, repeat: 13 },
      { batch: 1, length: 1, gates: 1030, repeat: 1 },
      { batch: 1, length: 2, gates: 3, repeat: 401 },
    ])(
      "agrees with the reference: $batch × $length, $gates gates of $repeat",
      async ({ batch, length, gates, repeat }) => {
        const random = seeded(gates + repeat);
        const rows = batch * length;
        const cols = gates * repeat;
        await expectLikeReference(backend(), {
          batch,
          length,
          inputs: {
            a: { cols: gates, values: random.normal(rows * gates, 2), margin: [1, 2] },
            b: { cols, values: random.normal(rows * cols), margin: [3, 0] },
          },
          states: {},
          weights: {},
          record: (k, { inputs }) => gate(k, { ...inputs, act }),
        });
      },
    );
  });

  test("writes over what it gates", async () => {
    const random = seeded(7);
    await expectLikeReference(backend(), {
      batch: 1,
      length: 3,
      inputs: {
        a: { cols: 6, values: random.normal(18) },
        b: { cols: 6, values: random.normal(18) },
      },
      states: {},
      weights: {},
      record: (k, { inputs }) => {
        const wide = gate(k, { ...inputs, act: "sigmoid" });
        const part = columns(wide, 1, 4);
        gate(k, { a: columns(inputs.a, 2, 4), b: part, act: "silu", into: part });
        gate(k, { a: columns(wide, 5, 1), b: part, act: "identity", into: part });
        return wide;
      },
    });
  });
});
