import { expect, test } from "vitest";
import { ACTIVATIONS, type Activation } from "../../spec/activations.ts";
import type { Recorder } from "../../spec/op.ts";
import type { Tensor } from "../../spec/tensor.ts";
import { columns } from "../../spec/views.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { activation } from "./activation.ts";

const NAMES = Object.keys(ACTIVATIONS) as Activation[];

/** Finely around 0, coarsely to where functions saturate; exp and its kin stay finite. */
const GRID = Float32Array.from({ length: 1201 }, (_, i) => {
  const step = (i - 600) / 600;
  return 30 * step ** 3;
});

forEachBackend("activation", (backend) => {
  test.each(NAMES)("%s is right from −30 to 30", async (act) => {
    const { y } = await runOp(backend(), {
      batch: 1,
      length: 1,
      inputs: { x: { cols: GRID.length, values: GRID } },
      states: {},
      weights: {},
      record: (k, { inputs }) => activation(k, inputs.x, act),
    });
    const errors = [...GRID].map((x, i) => {
      const exact = ACTIVATIONS[act](x);
      return Math.abs((y[i] ?? NaN) - exact) / Math.max(1, Math.abs(exact));
    });
    // WGSL allows exp an error that grows with |x|.
    expect(Math.max(...errors)).toBeLessThan(
      act === "exp" && backend().name === "webgpu" ? 1e-5 : 2e-6,
    );
  });

  test.each(["silu", "sigmoid", "softplus", "tanh", "gelu", "gelu_tanh"] as const)(
    "%s stays finite far out",
    async (act) => {
      const values = Float32Array.of(-1e4, -200, -89, 89, 200, 1e4);
      const { y } = await runOp(backend(), {
        batch: 1,
        length: 1,
        inputs: { x: { cols: 6, values } },
        states: {},
        weights: {},
        record: (k, { inputs }) => activation(k, inputs.x, act),
      });
      values.forEach((x, i) => expect(y[i]).toBeCloseTo(ACTIVATIONS[act](x), 6));
    },
  );

  test.each([
    { batch: 1, length: 1, cols: 1 },
    { batch: 2, length: 3, cols: 31 },
    { batch: 1, length: 2, cols: 1030 },
  ])(
    "scales before and after, adds a bias: $batch × $length × $cols",
    async ({ batch, length, cols }) => {
      const random = seeded(cols);
      await expectLikeReference(backend(), {
        batch,
        length,
        inputs: { x: { cols, values: random.normal(batch * length * cols, 2), margin: [2, 5] } },
        states: {},
        weights: { bias: { rows: 1, cols, values: random.normal(cols) } },
        record: (k, { inputs, weights }) =>
          activation(k, inputs.x, "tanh", { scale: 1 / 3, bias: weights.bias, gain: 3 }),
      });
    },
  );

  test("writes over a part of what it reads", async () => {
    const random = seeded(7);
    await expectLikeReference(backend(), {
      batch: 1,
      length: 3,
      inputs: { x: { cols: 10, values: random.normal(30) } },
      states: {},
      weights: {},
      record: (k, { inputs }) => {
        const wide = copyOf(k, inputs.x);
        activation(k, columns(wide, 3, 5), "exp", { into: columns(wide, 3, 5) });
        activation(k, columns(wide, 0, 3), "relu", { into: columns(wide, 7, 3) });
        return wide;
      },
    });
  });
});

function copyOf(k: Recorder, x: Tensor): Tensor {
  return activation(k, x, "identity");
}
