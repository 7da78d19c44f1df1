import { slotSize, type StateLayout, type StateSlot } from "../../kernels/spec/tensor.ts";

/**
 * Raised whenever the same weights and tokens would give another state: a changed recurrence, another order of the
 * values in a slot. States of another numeric version are rebuilt, not continued.
 */
export const NUMERIC_VERSION = 1;

/** Where one sequence stands: a value, of no backend. */
export interface SequenceState {
  /** Tokens that were fed. */
  readonly position: number;
  /** SHA-256 (hex) chain over the tokens that were fed. */
  readonly prefixHash: string;
  readonly layout: StateLayout;
  /** One array a slot of the layout, f32; of a slot that grows (position, slotSize). */
  readonly slots: readonly Float32Array[];
  /** (vocabSize), behind the last token; null where none were computed. */
  readonly logits: Float32Array | null;
}

/** Values of one sequence in a slot, behind `position` tokens. */
export function slotValues(slot: StateSlot, position: number): number {
  return slotSize(slot) * (slot.grows === true ? position : 1);
}

/** Bytes of one sequence's slots in f32, behind `position` tokens: those that grow are empty before the first. */
export function stateBytes(layout: StateLayout, position = 0): number {
  return layout.reduce((sum, slot) => sum + 4 * slotValues(slot, position), 0);
}

/** True if both have the same slots, by name, shape and kind, in the same order. */
export function sameLayout(a: StateLayout, b: StateLayout): boolean {
  const text = (layout: StateLayout): string =>
    JSON.stringify(
      layout.map(({ name, shape, grows = false, dtype = "f32" }) => [name, shape, grows, dtype]),
    );
  return text(a) === text(b);
}
