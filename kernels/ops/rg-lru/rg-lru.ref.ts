import { sigmoid } from "../../spec/activations.ts";
import type { ReferenceMemory } from "../../spec/reference.ts";
import type { RgLruOperands } from "./rg-lru.ts";

/** log a = logDecay σ(r); h = a h + √(1 − a²) σ(i) x, and h = σ(i) x at position 0. Source: arXiv:2402.19427 eq. 1–4. */
export function rgLruRef(memory: ReferenceMemory, operands: RgLruOperands): void {
  const { length: T } = operands;
  const x = memory.rows(operands.x); // (B * T, width)
  const r = memory.rows(operands.recurrenceGate); // (B * T, width)
  const i = memory.rows(operands.inputGate); // (B * T, width)
  const y = memory.rows(operands.y); // (B * T, width)
  const states = memory.rows(operands.state); // (B, width)
  const logDecay = memory.weightRow(operands.logDecay, 0); // (width)
  for (let b = 0; b < states.length; b++) {
    const h = states[b]; // (width)
    for (let t = 0; t < T; t++) {
      const row = b * T + t;
      const first = memory.positions[b] + t === 0;
      for (let c = 0; c < h.length; c++) {
        const logA = logDecay[c] * sigmoid(r[row][c]);
        const gated = sigmoid(i[row][c]) * x[row][c];
        h[c] = first ? gated : Math.exp(logA) * h[c] + Math.sqrt(-Math.expm1(2 * logA)) * gated;
      }
      y[row].set(h);
    }
  }
}
