import type { ReferenceMemory } from "../../spec/reference.ts";
import type { Wkv7Operands } from "./wkv7.ts";

/** S[t] = S[t−1] (diag(w) − κ̂ᵀ (a ⊙ κ̂)) + vᵀ k̃; y[t] = r S[t]ᵀ. Source: arXiv:2503.14456 §4.1; row by row of S. */
export function wkv7Ref(memory: ReferenceMemory, operands: Wkv7Operands): void {
  const { length: T, nHead } = operands;
  const K = operands.r.cols / nHead;
  const V = operands.v.cols / nHead;
  const r = memory.rows(operands.r); // (B * T, nHead * K)
  const w = memory.rows(operands.w); // (B * T, nHead * K)
  const k = memory.rows(operands.k); // (B * T, nHead * K)
  const v = memory.rows(operands.v); // (B * T, nHead * V)
  const kappa = memory.rows(operands.kappa); // (B * T, nHead * K)
  const a = memory.rows(operands.a); // (B * T, nHead * K)
  const y = memory.rows(operands.y); // (B * T, nHead * V)
  const states = memory.rows(operands.state); // (B, nHead * V * K)
  for (let b = 0; b < states.length; b++) {
    for (let value = 0; value < nHead * V; value++) {
      const S = states[b].subarray(value * K, (value + 1) * K); // (K)
      const head = Math.floor(value / V) * K; // first key channel
      for (let t = b * T; t < (b + 1) * T; t++) {
        let removed = 0;
        for (let j = 0; j < K; j++) removed += S[j] * kappa[t][head + j];
        let sum = 0;
        for (let j = 0; j < K; j++) {
          const at = head + j;
          S[j] = S[j] * w[t][at] - removed * a[t][at] * kappa[t][at] + v[t][value] * k[t][at];
          sum += r[t][at] * S[j];
        }
        y[t][value] = sum;
      }
    }
  }
}
