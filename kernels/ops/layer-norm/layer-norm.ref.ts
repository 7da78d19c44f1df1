import type { ReferenceMemory } from "../../spec/reference.ts";
import type { LayerNormOperands } from "./layer-norm.ts";

/** y = (x − mean) / sqrt(variance + eps) · weight + bias over each group of columns. Source: arXiv:1607.06450 eq. 4. */
export function layerNormRef(memory: ReferenceMemory, operands: LayerNormOperands): void {
  const { groupSize, eps } = operands;
  const x = memory.rows(operands.x); // (rows, cols)
  const y = memory.rows(operands.y); // (rows, cols)
  const { cols } = operands.x;
  const weight = operands.weight === null ? null : memory.weightRow(operands.weight, 0); // (cols)
  const bias = operands.bias === null ? null : memory.weightRow(operands.bias, 0); // (cols)
  for (let t = 0; t < x.length; t++) {
    for (let group = 0; group < cols; group += groupSize) {
      const end = group + groupSize;
      let mean = 0;
      for (let i = group; i < end; i++) mean += x[t][i] / groupSize;
      let variance = 0;
      for (let i = group; i < end; i++) variance += (x[t][i] - mean) ** 2 / groupSize;
      const scale = 1 / Math.sqrt(variance + eps);
      for (let i = group; i < end; i++) {
        y[t][i] = (x[t][i] - mean) * scale * (weight?.[i] ?? 1) + (bias?.[i] ?? 0);
      }
    }
  }
}
