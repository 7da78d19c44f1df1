import type { ReferenceMemory } from "../../spec/reference.ts";
import type { BlockLinearOperands } from "./block-linear.ts";

/** y[t, r] = Σ_k weight[r, k] x[t, b K + k] + bias[r], b = ⌊r / R⌋ the block of row r. */
export function blockLinearRef(memory: ReferenceMemory, operands: BlockLinearOperands): void {
  const { weight, nBlock } = operands;
  const x = memory.rows(operands.x); // (rows, nBlock * K)
  const y = memory.rows(operands.y); // (rows, nBlock * R)
  const bias = operands.bias === null ? null : memory.weightRow(operands.bias, 0);
  const K = weight.cols;
  const R = weight.rows / nBlock;
  for (let r = 0; r < weight.rows; r++) {
    const row = memory.weightRow(weight, r); // (K)
    const from = Math.floor(r / R) * K;
    for (let t = 0; t < x.length; t++) {
      let sum = bias?.[r] ?? 0;
      for (let i = 0; i < K; i++) sum += row[i] * x[t][from + i];
      y[t][r] = sum;
    }
  }
}
