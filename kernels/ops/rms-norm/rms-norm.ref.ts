import type { ReferenceMemory } from "../../spec/reference.ts";
import type { RmsNormOperands } from "./rms-norm.ts";

/** y[t, i] = x[t, i] / sqrt(mean over i's group(x[t]²) + eps) · weight[i]. Source: arXiv:1910.07467 eq. 4. */
export function rmsNormRef(memory: ReferenceMemory, operands: RmsNormOperands): void {
  const { groupSize, over, eps } = operands;
  const x = memory.rows(operands.x); // (rows, cols)
  const y = memory.rows(operands.y); // (rows, cols)
  const { cols } = operands.x;
  const weight = operands.weight === null ? null : memory.weightRow(operands.weight, 0); // (cols or groupSize)
  const divisor = over === "mean" ? groupSize : 1;
  for (let t = 0; t < x.length; t++) {
    for (let group = 0; group < cols; group += groupSize) {
      let squares = 0;
      for (let i = group; i < group + groupSize; i++) squares += x[t][i] * x[t][i];
      const scale = 1 / Math.sqrt(squares / divisor + eps);
      for (let i = group; i < group + groupSize; i++) {
        y[t][i] = x[t][i] * scale * (weight === null ? 1 : weight[i % weight.length]);
      }
    }
  }
}
