import { KernelError } from "../../spec/errors.ts";
import type { ReferenceMemory } from "../../spec/reference.ts";
import type { EmbeddingOperands } from "./embedding.ts";

/**
 * y[t] = table[ids[t]].
 * @throws KernelError `shape` for an id outside the table
 */
export function embeddingRef(memory: ReferenceMemory, { ids, table, y }: EmbeddingOperands): void {
  const tokens = memory.ids(ids); // (B * T)
  const out = memory.rows(y); // (B * T, dModel)
  for (let t = 0; t < out.length; t++) {
    const token = tokens[t];
    if (token < 0 || token >= table.rows) {
      throw new KernelError(
        "shape",
        `embedding: token ${token} is not in a table of ${table.rows} rows`,
        { token, rows: table.rows },
      );
    }
    out[t].set(memory.weightRow(table, token)); // (dModel)
  }
}
