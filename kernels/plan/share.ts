import type { Operands, Plan } from "../spec/op.ts";
import { isTensor } from "./recorder.ts";

/** The same plan with every temporary mapped onto a buffer that is used again once nobody reads it any more. */
export function shareTemporaries(plan: Plan): Plan {
  const shared = assignBuffers(plan.calls, plan.temporaries);
  return {
    ...plan,
    temporaries: shared.sizes,
    calls: plan.calls.map(({ op, operands }) => ({
      op,
      operands: Object.fromEntries(
        Object.entries(operands).map(([key, value]) => [
          key,
          isTensor(value) && value.buffer.kind === "temporary"
            ? { ...value, buffer: { kind: "temporary", index: shared.indexOf(value.buffer.index) } }
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
