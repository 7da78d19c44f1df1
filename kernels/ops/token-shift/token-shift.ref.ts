import type { ReferenceMemory } from "../../spec/reference.ts";
import type { TokenShiftOperands } from "./token-shift.ts";

/** y_j[t] = x[t] + mix_j ⊙ (x[t − 1] − x[t]); x[−1] is the state. Source: arXiv:2503.14456 §4.1. */
export function tokenShiftRef(memory: ReferenceMemory, operands: TokenShiftOperands): void {
  const { length: T } = operands;
  const { rows: n, cols: channels } = operands.mix;
  const x = memory.rows(operands.x); // (B * T, channels)
  const y = memory.rows(operands.y); // (B * T, n * channels)
  const states = memory.rows(operands.state); // (B, channels)
  for (let j = 0; j < n; j++) {
    const mix = memory.weightRow(operands.mix, j); // (channels)
    for (let b = 0; b < states.length; b++) {
      for (let t = 0; t < T; t++) {
        const now = x[b * T + t];
        const before = t === 0 ? states[b] : x[b * T + t - 1];
        for (let i = 0; i < channels; i++) {
          y[b * T + t][j * channels + i] = now[i] + mix[i] * (before[i] - now[i]);
        }
      }
    }
  }
  for (let b = 0; b < states.length; b++) states[b].set(x[b * T + T - 1]);
}
