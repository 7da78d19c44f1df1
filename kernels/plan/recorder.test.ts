import { expect, test } from "vitest";
import { linear } from "../ops/linear/linear.ts";
import { rmsNorm } from "../ops/rms-norm/rms-norm.ts";
import type { Plan } from "../spec/op.ts";
import type { Weight } from "../spec/tensor.ts";
import { isTensor, recordPlan as recordDistinct } from "./recorder.ts";
import { shareTemporaries } from "./share.ts";

const SHAPE = { batch: 1, length: 1 };
const weight = (rows: number, cols: number): Weight => ({ id: 0, dtype: "f32", rows, cols });

function recordPlan(...given: Parameters<typeof recordDistinct>): Plan {
  return shareTemporaries(recordDistinct(...given));
}

/** The temporaries that each call names, by buffer. */
function temporaries({ calls }: Plan): number[][] {
  return calls.map(({ operands }) =>
    Object.values(operands)
      .filter((operand) => isTensor(operand))
      .filter(({ buffer }) => buffer.kind === "temporary")
      .map(({ buffer }) => buffer.index),
  );
}

test("gives every temporary a buffer of its own", () => {
  const plan = recordDistinct(SHAPE, [], (k) => {
    let x = k.temporary(1, 8);
    for (let i = 0; i < 3; i++) x = linear(k, x, weight(8, 8));
  });
  expect(temporaries(plan)).toEqual([
    [0, 1],
    [1, 2],
    [2, 3],
  ]);
});

test("a chain of calls takes turns in two buffers", () => {
  const plan = recordPlan(SHAPE, [], (k) => {
    let x = k.temporary(1, 8);
    for (let i = 0; i < 6; i++) x = linear(k, x, weight(8, 8));
  });
  expect(plan.temporaries).toEqual([8, 8]);
});

test("never writes where it still reads", () => {
  const plan = recordPlan(SHAPE, [], (k) => {
    let x = k.temporary(1, 8);
    for (let i = 0; i < 6; i++)
      x = linear(k, rmsNorm(k, { x, weight: weight(1, 8), eps: 0 }), weight(8, 8), { residual: x });
  });
  for (const buffers of temporaries(plan)) expect(new Set(buffers).size).toBe(buffers.length);
});

test("keeps a value for its last reader, however late", () => {
  const plan = recordPlan(SHAPE, [], (k) => {
    const first = k.temporary(1, 4);
    let x = linear(k, first, weight(4, 4));
    for (let i = 0; i < 3; i++) x = linear(k, x, weight(4, 4));
    linear(k, x, weight(4, 4), { residual: first });
  });
  const buffers = temporaries(plan);
  const kept = buffers[0][0];
  for (const written of buffers.slice(0, 4).map((call) => call.at(-1)))
    expect(written).not.toBe(kept);
  expect(buffers[4]).toContain(kept);
});

test("lets a buffer grow to its largest tenant", () => {
  const plan = recordPlan(SHAPE, [], (k) => {
    const wide = linear(k, linear(k, k.temporary(1, 4), weight(4, 4)), weight(64, 4));
    linear(k, wide, weight(4, 64));
  });
  expect(plan.temporaries.toSorted((a, b) => a - b)).toEqual([4, 64]);
});

test("leaves states and outputs as they are", () => {
  const plan = recordPlan({ batch: 2, length: 3 }, [{ name: "h", shape: [5] }], (k) => {
    linear(k, k.state(0), weight(7, 5), { into: k.output(2, 7) });
  });
  expect(plan).toMatchObject({ batch: 2, length: 3, temporaries: [], outputs: [14] });
  expect(plan.calls[0].operands["x"]).toMatchObject({
    buffer: { kind: "state", index: 0 },
    rows: 2,
    cols: 5,
  });
});

test("has no state slot beyond the layout", () => {
  expect(() => recordPlan(SHAPE, [], (k) => void k.state(0))).toThrow(RangeError);
});
