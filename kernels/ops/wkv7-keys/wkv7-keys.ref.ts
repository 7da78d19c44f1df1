import { sigmoid } from "../../spec/activations.ts";
import type { ReferenceMemory } from "../../spec/reference.ts";
import type { Wkv7KeysOperands } from "./wkv7-keys.ts";

/**
 * w = exp(−e^−½ σ(d)); a = σ(a); κ̂ = (k ⊙ ξ) / ‖k ⊙ ξ‖; k̃ = k ⊙ (1 + (a − 1) ⊙ α).
 * Source: arXiv:2503.14456 §4.1.
 */
export function wkv7KeysRef(memory: ReferenceMemory, operands: Wkv7KeysOperands): void {
  const { nHead, eps } = operands;
  const { cols } = operands.k;
  const headDim = cols / nHead;
  const k = memory.rows(operands.k); // (rows, cols)
  const w = memory.rows(operands.w); // (rows, cols)
  const a = memory.rows(operands.a); // (rows, cols)
  const y = memory.rows(operands.y); // (rows, 4 * cols)
  const removal = memory.weightRow(operands.removal, 0); // (cols)
  const replacement = memory.weightRow(operands.replacement, 0); // (cols)
  for (let t = 0; t < k.length; t++) {
    for (let head = 0; head < cols; head += headDim) {
      let squares = 0;
      for (let i = head; i < head + headDim; i++) squares += (k[t][i] * removal[i]) ** 2;
      const scale = 1 / Math.sqrt(squares + eps);
      for (let i = head; i < head + headDim; i++) {
        const rate = sigmoid(a[t][i]);
        y[t][i] = Math.exp(-Math.exp(-0.5) * sigmoid(w[t][i]));
        y[t][cols + i] = rate;
        y[t][2 * cols + i] = k[t][i] * removal[i] * scale;
        y[t][3 * cols + i] = k[t][i] * (1 + (rate - 1) * replacement[i]);
      }
    }
  }
}
