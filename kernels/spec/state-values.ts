import { KernelError } from "./errors.ts";
import { slotSize, type StateLayout } from "./tensor.ts";

/** @throws KernelError `shape` unless there is one array a slot, each as long as `position` tokens make it */
export function checkStateValues(
  layout: StateLayout,
  values: readonly Float32Array[],
  position: number,
): void {
  if (!Number.isSafeInteger(position) || position < 0)
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
