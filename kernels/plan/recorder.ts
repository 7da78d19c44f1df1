import type { OpCall, OpDeclaration, Operand, Operands, Plan, Recorder } from "../spec/op.ts";
import { slotSize, type BufferRef, type StateLayout, type Tensor } from "../spec/tensor.ts";

export function isTensor(operand: Operand | undefined): operand is Tensor {
  return typeof operand === "object" && operand !== null && "buffer" in operand;
}

/**
 * Records one run of an architecture for a shape (B, T) and returns it as a plan: the calls in order, with every
 * temporary mapped onto a buffer that is reused once nobody reads it any more.
 */
export function recordPlan(
  shape: { readonly batch: number; readonly length: number },
  layout: StateLayout,
  build: (recorder: Recorder) => void,
): Plan {
  const { batch, length } = shape;
  const calls: { declaration: OpDeclaration; operands: Operands }[] = [];
  const temporarySizes: number[] = [];
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
      dense({ kind: "temporary", index: temporarySizes.push(rows * cols) - 1 }, rows, cols),
    output: (rows, cols) =>
      dense({ kind: "output", index: outputs.push(rows * cols) - 1 }, rows, cols),
    record: (declaration, operands) => void calls.push({ declaration, operands }),
  });

  const reuse = assignBuffers(calls, temporarySizes);
  return {
    batch,
    length,
    layout,
    outputs,
    temporaries: reuse.sizes,
    calls: calls.map(({ declaration, operands }): OpCall => ({
      op: declaration.name,
      operands: Object.fromEntries(
        Object.entries(operands).map(([key, value]) => [
          key,
          isTensor(value) && value.buffer.kind === "temporary"
            ? { ...value, buffer: { kind: "temporary", index: reuse.indexOf(value.buffer.index) } }
            : value,
        ]),
      ),
    })),
  };
}

/** First-fit reuse: a temporary takes the smallest free buffer that is large enough, else the largest free one grows. */
function assignBuffers(
  calls: readonly { readonly operands: Operands }[],
  sizes: readonly number[],
): { sizes: number[]; indexOf(temporary: number): number } {
  const lastUse = new Map<number, number>();
  calls.forEach(({ operands }, at) => {
    for (const temporary of temporariesOf(operands)) lastUse.set(temporary, at);
  });
  const assigned = new Map<number, number>();
  const physical: number[] = [];
  const free: number[] = [];
  calls.forEach(({ operands }, at) => {
    const touched = new Set(temporariesOf(operands));
    for (const temporary of touched) {
      if (assigned.has(temporary)) continue;
      const size = sizes[temporary] ?? 0;
      free.sort((a, b) => (physical[a] ?? 0) - (physical[b] ?? 0));
      const fitting = free.findIndex((index) => (physical[index] ?? 0) >= size);
      const [taken] = free.splice(fitting === -1 ? free.length - 1 : fitting, 1);
      const index = taken ?? physical.push(size) - 1;
      physical[index] = Math.max(physical[index] ?? 0, size);
      assigned.set(temporary, index);
    }
    // Only now: an op never writes into a buffer that it still reads.
    for (const temporary of touched) {
      const index = assigned.get(temporary);
      if (lastUse.get(temporary) === at && index !== undefined) free.push(index);
    }
  });
  return {
    sizes: physical,
    indexOf(temporary) {
      const index = assigned.get(temporary);
      if (index === undefined) throw new RangeError(`temporary ${temporary} was never assigned`);
      return index;
    },
  };
}

function temporariesOf(operands: Operands): number[] {
  return Object.values(operands)
    .filter((operand) => isTensor(operand))
    .filter((tensor) => tensor.buffer.kind === "temporary")
    .map((tensor) => tensor.buffer.index);
}
