import type { ReferenceMemory } from "../../spec/reference.ts";
import type { RmsNormOperands } from "./rms-norm.ts";

/** y[t, i] = x[t, i] / sqrt(mean_i(x[t, i]²) + eps) · weight[i]. Source: arXiv:1910.07467 eq. 4. */
export function rmsNormRef(memory: ReferenceMemory, operands: RmsNormOperands): void {
  const x = memory.rows(operands.x); // (rows, dModel)
  const y = memory.rows(operands.y); // (rows, dModel)
  const weight = memory.weightRow(operands.weight, 0); // (dModel)
  const dModel = weight.length;
  for (let t = 0; t < x.length; t++) {
    let squares = 0;
    for (let i = 0; i < dModel; i++) squares += x[t][i] * x[t][i];
    const scale = 1 / Math.sqrt(squares / dModel + operands.eps);
    for (let i = 0; i < dModel; i++) y[t][i] = x[t][i] * scale * weight[i];
  }
}
