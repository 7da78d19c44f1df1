import { slotSize, type StateLayout } from "../../kernels/spec/tensor.ts";

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
  /** One array a slot of the layout, f32. */
  readonly slots: readonly Float32Array[];
  /** (vocabSize), behind the last token; null where none were computed. */
  readonly logits: Float32Array | null;
}

/** Bytes of one sequence's slots, in f32. */
export function stateBytes(layout: StateLayout): number {
  return layout.reduce((sum, slot) => sum + 4 * slotSize(slot), 0);
}

/** True if both have the same slots, by name and shape, in the same order. */
export function sameLayout(a: StateLayout, b: StateLayout): boolean {
  const text = (layout: StateLayout): string =>
    JSON.stringify(layout.map(({ name, shape }) => [name, shape]));
  return text(a) === text(b);
}
