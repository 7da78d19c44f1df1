import type { StateBuffers } from "./backend.ts";
import { KernelError } from "./errors.ts";
import type { Plan } from "./op.ts";
import { slotSize, type StateLayout } from "./tensor.ts";

/** One past the last position: kernels count in 32 bits. */
export const MAX_POSITION = 2 ** 31;

/** @throws KernelError `shape` unless there is one array a slot, each as long as `position` tokens make it */
export function checkStateValues(
  layout: StateLayout,
  values: readonly Float32Array[],
  position: number,
): void {
  if (!Number.isSafeInteger(position) || position < 0 || position >= MAX_POSITION)
    throw new KernelError("shape", `a state after ${position} tokens`);
  if (values.length !== layout.length) {
    throw new KernelError("shape", `${values.length} arrays for a state of ${layout.length} slots`);
  }
  layout.forEach((slot, index) => {
    const expected = slotSize(slot) * (slot.grows === true ? position : 1);
    if (values[index].length !== expected) {
      throw new KernelError(
        "shape",
        `slot "${slot.name}" has ${expected} values after ${position} tokens, got ${values[index].length}`,
      );
    }
  });
}

/** @throws KernelError `shape` unless the states are two, of one layout */
export function checkCopy(from: StateBuffers, to: StateBuffers): void {
  if (from === to)
    throw new KernelError("shape", "a state is copied to another one, not to itself");
  if (from.layout !== to.layout && !sameLayout(from.layout, to.layout))
    throw new KernelError("shape", "a state is copied to one of another layout");
}

/** @throws KernelError `shape` unless `from` is one of a sequence's tokens, or right behind the last */
export function checkFirstRow(from: number, position: number): void {
  if (!Number.isSafeInteger(from) || from < 0 || from > position)
    throw new KernelError(
      "shape",
      `rows from token ${from} on of a state after ${position} tokens`,
    );
}

/** @throws KernelError `shape` unless ids and state are what the plan was recorded for, with room to count the tokens */
export function checkRun(plan: Plan, ids: Int32Array, state: StateBuffers): void {
  if (ids.length !== plan.batch * plan.length || state.batch !== plan.batch) {
    throw new KernelError(
      "shape",
      `the plan takes ${plan.batch} sequences of ${plan.length}; there are ${ids.length} ids and ${state.batch} states`,
    );
  }
  if (state.layout !== plan.layout && !sameLayout(state.layout, plan.layout))
    throw new KernelError("shape", "the states have another layout than the plan");
  const furthest = Math.max(...state.positions);
  if (furthest + plan.length >= MAX_POSITION)
    throw new KernelError("shape", `${plan.length} tokens after ${furthest} are too many to count`);
}

/** True if both have the same slots, by name, shape and kind, in the same order. */
export function sameLayout(a: StateLayout, b: StateLayout): boolean {
  const text = (layout: StateLayout): string =>
    JSON.stringify(
      layout.map(({ name, shape, grows = false, dtype = "f32" }) => [name, shape, grows, dtype]),
    );
  return text(a) === text(b);
}
