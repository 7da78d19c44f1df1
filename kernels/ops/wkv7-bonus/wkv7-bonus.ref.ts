import type { ReferenceMemory } from "../../spec/reference.ts";
import type { Wkv7BonusOperands } from "./wkv7-bonus.ts";

/** y = (x + (r · (ρ ⊙ k̃)) v) ⊙ g, head by head. Source: arXiv:2503.14456 §4.1. */
export function wkv7BonusRef(memory: ReferenceMemory, operands: Wkv7BonusOperands): void {
  const { nHead } = operands;
  const K = operands.r.cols / nHead;
  const V = operands.x.cols / nHead;
  const x = memory.rows(operands.x); // (rows, nHead * V)
  const r = memory.rows(operands.r); // (rows, nHead * K)
  const k = memory.rows(operands.k); // (rows, nHead * K)
  const v = memory.rows(operands.v); // (rows, nHead * V)
  const g = memory.rows(operands.g); // (rows, nHead * V)
  const y = memory.rows(operands.y); // (rows, nHead * V)
  const weight = memory.weightRow(operands.weight, 0); // (nHead * K)
  for (let t = 0; t < x.length; t++) {
    for (let head = 0; head < nHead; head++) {
      let bonus = 0;
      for (let j = head * K; j < (head + 1) * K; j++) bonus += r[t][j] * weight[j] * k[t][j];
      for (let i = head * V; i < (head + 1) * V; i++)
        y[t][i] = (x[t][i] + bonus * v[t][i]) * g[t][i];
    }
  }
}
