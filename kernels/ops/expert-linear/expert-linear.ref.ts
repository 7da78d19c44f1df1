import type { ReferenceMemory } from "../../spec/reference.ts";
import type { ExpertLinearOperands } from "./expert-linear.ts";

/** p_j = x_j W[e_j]ᵀ + bias[e_j]; y = (p_0, p_1, …) or residual + Σ_j weights_j p_j. Source: arXiv:1701.06538 eq. 1. */
export function expertLinearRef(memory: ReferenceMemory, operands: ExpertLinearOperands): void {
  const { weight, nExpert } = operands;
  const x = memory.rows(operands.x); // (rows, K or topK * K)
  const y = memory.rows(operands.y); // (rows, R or topK * R)
  const experts = memory.rows(operands.experts); // (rows, topK)
  const weights = operands.weights === null ? null : memory.rows(operands.weights); // (rows, topK)
  const residual = operands.residual === null ? null : memory.rows(operands.residual); // (rows, R)
  const K = weight.cols;
  const R = weight.rows / nExpert;
  const topK = operands.experts.cols;
  const shared = operands.x.cols === K;
  for (let t = 0; t < x.length; t++) {
    for (let r = 0; r < R; r++) {
      let total = residual?.[t][r] ?? 0;
      for (let j = 0; j < topK; j++) {
        const expert = experts[t][j];
        let product = 0;
        if (expert >= 0 && expert < nExpert) {
          const row = memory.weightRow(weight, expert * R + r); // (K)
          for (let i = 0; i < K; i++) product += row[i] * x[t][(shared ? 0 : j * K) + i];
          if (operands.bias !== null) product += memory.weightRow(operands.bias, expert)[r];
        }
        if (weights === null) y[t][j * R + r] = product;
        else total += weights[t][j] * product;
      }
      if (weights !== null) y[t][r] = total;
    }
  }
}
