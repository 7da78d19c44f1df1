import { test } from "vitest";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp, type OpTrial } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { kernelTolerance } from "../../testing/tolerances.ts";
import { rgLru } from "./rg-lru.ts";

interface Size {
  readonly batch: number;
  readonly length: number;
  readonly width: number;
  readonly position: number;
}

type Trial = OpTrial<"x" | "recurrenceGate" | "inputGate", "h", "logDecay">;

function trial({ batch, length, width, position }: Size): Trial {
  const random = seeded(length * width + position);
  const values = batch * length * width;
  return {
    batch,
    length,
    position,
    inputs: {
      x: { cols: width, values: random.normal(values), margin: [3, 1] },
      recurrenceGate: { cols: width, values: random.normal(values, 3), margin: [0, width] },
      inputGate: { cols: width, values: random.normal(values), margin: [width, 0] },
    },
    states: { h: initialState(batch * width) },
    // From decays that hardly forget to such as keep nothing.
    weights: { logDecay: { rows: 1, cols: width, values: random.uniform(width, -9, -0.001) } },
    record: (k, { inputs, states, weights }) =>
      rgLru(k, { ...inputs, logDecay: weights.logDecay, state: states.h }),
  };
}

function initialState(values: number): Float32Array {
  return seeded(values).normal(values);
}

/** Griffin's equations 1–4 in f64, with a = exp(logDecay): h = a^r h + √(1 − a^2r) i x. */
function griffin(size: Size, { inputs, weights }: Trial): { y: number[]; h: number[] } {
  const { batch, length, width, position } = size;
  const open = (z: number): number => 1 / (1 + Math.exp(-z));
  const y: number[] = [];
  const h = Array.from(initialState(batch * width));
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < length; t++) {
      for (let c = 0; c < width; c++) {
        const at = (b * length + t) * width + c;
        const a = Math.exp(weights.logDecay.values[c]) ** open(inputs.recurrenceGate.values[at]);
        const input = open(inputs.inputGate.values[at]) * inputs.x.values[at];
        h[b * width + c] =
          position + t === 0 ? input : a * h[b * width + c] + Math.sqrt(1 - a * a) * input;
        y.push(h[b * width + c]);
      }
    }
  }
  return { y, h };
}

forEachBackend("rg-lru", (backend) => {
  test.each([0, 1, 100])("computes the paper's equations from position %i", async (position) => {
    const size = { batch: 2, length: 21, width: 19, position };
    const given = trial(size);
    const { y, states } = await runOp(backend(), given);
    const expected = griffin(size, given);
    expectAllClose(y, expected.y, kernelTolerance(expected.y, size.length), "y");
    expectAllClose(states.h, expected.h, kernelTolerance(expected.h, size.length), "h");
  });

  test.each([
    { batch: 1, length: 1, width: 1, position: 0 },
    { batch: 3, length: 1, width: 67, position: 5 },
    { batch: 1, length: 130, width: 6, position: 0 },
    { batch: 2, length: 3, width: 64, position: 1 },
  ])("agrees with the reference: $batch × $length × $width from $position", async (size) => {
    await expectLikeReference(backend(), trial(size));
  });
});
