import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";

export const embeddingOp = {
  name: "embedding",
  access: { ids: "read", y: "write" },
} as const satisfies OpDeclaration;

export interface EmbeddingOperands {
  /** (B, T) i32, each in 0 … table.rows - 1 (the engine checks before a run). */
  readonly ids: Tensor;
  /** (vocabSize, dModel), packed. */
  readonly table: Weight;
  /** (B * T, dModel) */
  readonly y: Tensor;
}

/** y[t] = table[ids[t]], as f32. */
export function embedding(k: Recorder, table: Weight): Tensor {
  const y = k.temporary(k.batch * k.length, table.cols);
  k.record(embeddingOp, { ids: k.ids, table, y } satisfies EmbeddingOperands &
    Record<string, unknown>);
  return y;
}
