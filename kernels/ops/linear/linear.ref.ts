import type { ReferenceMemory } from "../../spec/reference.ts";
import type { LinearOperands } from "./linear.ts";

/**
 * y[t, r] = Σ_k x[t, k] W[r, k] + bias[r] + residual[t, r].
 * A row of W is unpacked once and used for all t, so a pass over packed weights costs one unpacking, whatever T.
 */
export function linearRef(memory: ReferenceMemory, operands: LinearOperands): void {
  const { weight } = operands;
  const x = memory.rows(operands.x); // (rows, K)
  const y = memory.rows(operands.y); // (rows, R)
  const bias = operands.bias && memory.weightRow(operands.bias, 0); // (R)
  const residual = operands.residual && memory.rows(operands.residual); // (rows, R)
  for (let r = 0; r < weight.rows; r++) {
    const w = memory.weightRow(weight, r); // (K)
    for (let t = 0; t < x.length; t++) {
      const row = x[t]; // (K)
      let sum = bias ? bias[r] : 0;
      for (let k = 0; k < w.length; k++) sum += row[k] * w[k];
      y[t][r] = residual ? sum + residual[t][r] : sum;
    }
  }
}
