import { slotSize, type StateLayout, type StateSlot } from "../../kernels/spec/tensor.ts";

/**
 * Raised whenever the same weights and tokens would give another state: a changed recurrence, another order of the values in
 * a slot, another rounding. States of another numeric version are rebuilt, not continued.
 *
 * | version | since |
 * |---|---|
 * | 1 | the first |
 * | 2 | 14-bit activations and another exponential on CPUs, halves in matrix products on GPUs |
 * | 3 | one half for x in more matrix products on GPUs, another order of sums in ssd there |
 * | 4 | norms and gates of prompts in the dispatch that rounds x to halves on GPUs: sums of squares in another order |
 * | 5 | halves in ssd of prompts and in more products of few rows on GPUs, sums of one row and of few in another order there |
 */
export const NUMERIC_VERSION = 5;

/** Versions whose states are continued all the same, because a state means the same in them. Its own is always among them. */
export const CONTINUED_VERSIONS: readonly number[] = [NUMERIC_VERSION, 4, 3, 2];

/** How attention's keys and values are kept: f16 in half the memory, rounded once. */
export type KvDtype = "f32" | "f16";

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

/** Bytes of memory that one more token adds to a sequence's state; 0 of a model without attention. */
export function growthBytes(layout: StateLayout): number {
  return layout
    .filter((slot) => slot.grows === true)
    .reduce((sum, slot) => sum + slotSize(slot) * (slot.dtype === "f16" ? 2 : 4), 0);
}

/** The layout with keys and values kept in another dtype; what does not grow stays f32. */
export function withKvDtype(layout: StateLayout, dtype: KvDtype): StateLayout {
  return layout.map((slot) => (slot.grows === true ? { ...slot, dtype } : slot));
}
