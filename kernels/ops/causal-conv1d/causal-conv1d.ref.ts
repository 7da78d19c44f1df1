import { silu } from "../../spec/activations.ts";
import type { ReferenceMemory } from "../../spec/reference.ts";
import type { CausalConv1dOperands } from "./causal-conv1d.ts";

/**
 * y[t, c] = act(bias[c] + Σ_k weight[c, k] · x[t − (dConv − 1) + k, c]); inputs before the first are in the state.
 * Source: arXiv:2312.00752 §3.4.
 */
export function causalConv1dRef(memory: ReferenceMemory, operands: CausalConv1dOperands): void {
  const { length: T, weight } = operands;
  const x = memory.rows(operands.x); // (B * T, channels)
  const y = memory.rows(operands.y); // (B * T, channels)
  const states = memory.rows(operands.state); // (B, channels * (dConv - 1))
  const bias = operands.bias && memory.weightRow(operands.bias, 0); // (channels)
  const past = weight.cols - 1; // dConv - 1
  for (let b = 0; b < states.length; b++) {
    for (let c = 0; c < weight.rows; c++) {
      const w = memory.weightRow(weight, c); // (dConv)
      const state = states[b].subarray(c * past, (c + 1) * past); // (dConv - 1), oldest first
      const inputs = new Float32Array(past + T); // (dConv - 1 + T)
      inputs.set(state);
      for (let t = 0; t < T; t++) inputs[past + t] = x[b * T + t][c];
      for (let t = 0; t < T; t++) {
        let sum = bias ? bias[c] : 0;
        for (let k = 0; k <= past; k++) sum += w[k] * inputs[t + k];
        y[b * T + t][c] = operands.silu ? silu(sum) : sum;
      }
      state.set(inputs.subarray(T)); // the last dConv - 1 inputs
    }
  }
}
