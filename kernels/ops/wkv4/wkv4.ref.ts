import type { ReferenceMemory } from "../../spec/reference.ts";
import type { Wkv4Operands } from "./wkv4.ts";

/**
 * With a, b the sums over the past divided by exp(p): q = max(p, u + k), y = (exp(p − q) a + exp(u + k − q) v) /
 * (exp(p − q) b + exp(u + k − q)); then a, b take k[t] in, and p becomes max(p + decay, k).
 * Source: arXiv:2305.13048 appendix D.
 */
export function wkv4Ref(memory: ReferenceMemory, operands: Wkv4Operands): void {
  const { length: T } = operands;
  const k = memory.rows(operands.k); // (B * T, channels)
  const v = memory.rows(operands.v); // (B * T, channels)
  const y = memory.rows(operands.y); // (B * T, channels)
  const states = memory.rows(operands.state); // (B, 3 * channels)
  const decay = memory.weightRow(operands.decay, 0); // (channels)
  const u = memory.weightRow(operands.bonus, 0); // (channels)
  const channels = operands.k.cols;
  for (let b = 0; b < states.length; b++) {
    for (let i = 0; i < channels; i++) {
      let numerator = states[b][i];
      let denominator = states[b][channels + i];
      let p = denominator === 0 ? -Infinity : states[b][2 * channels + i];
      for (let t = b * T; t < (b + 1) * T; t++) {
        const now = u[i] + k[t][i];
        const q = Math.max(p, now);
        const past = Math.exp(p - q);
        const present = Math.exp(now - q);
        y[t][i] = (past * numerator + present * v[t][i]) / (past * denominator + present);

        const next = Math.max(p + decay[i], k[t][i]);
        const kept = Math.exp(p + decay[i] - next);
        const added = Math.exp(k[t][i] - next);
        numerator = kept * numerator + added * v[t][i];
        denominator = kept * denominator + added;
        p = next;
      }
      states[b][i] = numerator;
      states[b][channels + i] = denominator;
      states[b][2 * channels + i] = p;
    }
  }
}
