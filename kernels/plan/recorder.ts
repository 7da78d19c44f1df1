import type { OpCall, Operand, Plan, Precision, Recorder } from "../spec/op.ts";
import { slotSize, type BufferRef, type StateLayout, type Tensor } from "../spec/tensor.ts";

export function isTensor(operand: Operand | undefined): operand is Tensor {
  return typeof operand === "object" && operand !== null && "buffer" in operand;
}

/** What a plan is recorded for. */
export interface PlanShape {
  readonly batch: number;
  readonly length: number;
  /** "int16" if left out. */
  readonly activations?: Precision;
}

/**
 * Records one run of an architecture for a shape (B, T) and returns it as a plan: the calls in order. Every temporary has
 * a buffer of its own, so that a backend can see who reads what before it lets them share (`shareTemporaries`).
 */
export function recordPlan(
  shape: PlanShape,
  layout: StateLayout,
  build: (recorder: Recorder) => void,
): Plan {
  const { batch, length, activations = "int16" } = shape;
  const calls: OpCall[] = [];
  const temporaries: number[] = [];
  const outputs: number[] = [];
  const dense = (buffer: BufferRef, rows: number, cols: number): Tensor => ({
    buffer,
    offset: 0,
    rows,
    cols,
    stride: cols,
  });

  build({
    batch,
    length,
    ids: dense({ kind: "input", index: 0 }, batch, length),
    state(index) {
      const slot = layout[index];
      if (slot === undefined) throw new RangeError(`state slot ${index} of ${layout.length}`);
      return dense({ kind: "state", index }, batch, slotSize(slot));
    },
    temporary: (rows, cols) =>
      dense({ kind: "temporary", index: temporaries.push(rows * cols) - 1 }, rows, cols),
    output: (rows, cols) =>
      dense({ kind: "output", index: outputs.push(rows * cols) - 1 }, rows, cols),
    record: ({ name }, operands) => void calls.push({ op: name, operands }),
  });
  return { batch, length, activations, layout, calls, temporaries, outputs };
}
