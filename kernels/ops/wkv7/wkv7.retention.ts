import { columnsOf, norm, numberOperand, type RetentionRule } from "../../spec/retention.ts";

/**
 * RWKV-7: in each head a token writes vᵀ k̃, and every later one multiplies it from the right by diag(w) − κ̂ᵀ (a ⊙ κ̂).
 * Source: arXiv:2503.14456 §4.1. A row: w, k̃, κ̂, a ⊙ κ̂, then ‖v‖ of the heads.
 */
export const wkv7Retention: RetentionRule = {
  traced: ["w", "k", "v", "kappa", "a"],
  weights: [],
  create(operands) {
    const nHead = numberOperand(operands, "nHead");
    const keys = columnsOf(operands, "k");
    const dK = keys / nHead;
    const dV = columnsOf(operands, "v") / nHead;
    const width = 4 * keys + nHead;
    // Of each head Π of all later transitions, (dK, dK); the latest one stands right.
    const behind = Array.from({ length: nHead }, () => {
      const Q = new Float64Array(dK * dK);
      for (let i = 0; i < dK; i++) Q[i * dK + i] = 1;
      return Q;
    });
    const removed = new Float64Array(dK);
    const remaining = new Float64Array(dK);

    /** Σ_i x[i] Q[i, :], x from `from` on. */
    function timesBehind(x: Float32Array, from: number, Q: Float64Array, out: Float64Array): void {
      out.fill(0);
      for (let i = 0; i < dK; i++) {
        const value = x[from + i];
        for (let j = 0; j < dK; j++) out[j] += value * Q[i * dK + j];
      }
    }

    return {
      width,
      reduce({ w, k, v, kappa, a }, length) {
        const rows = new Float32Array(length * width);
        for (let t = 0; t < length; t++) {
          const row = t * width;
          rows.set(w.subarray(t * keys, (t + 1) * keys), row);
          rows.set(k.subarray(t * keys, (t + 1) * keys), row + keys);
          rows.set(kappa.subarray(t * keys, (t + 1) * keys), row + 2 * keys);
          for (let c = 0; c < keys; c++) {
            rows[row + 3 * keys + c] = a[t * keys + c] * kappa[t * keys + c];
          }
          for (let head = 0; head < nHead; head++) {
            rows[row + 4 * keys + head] = norm(v, (t * nHead + head) * dV, dV);
          }
        }
        return rows;
      },
      back(rows, length) {
        const written = new Float64Array(length);
        const held = new Float64Array(length);
        for (let t = length - 1; t >= 0; t--) {
          const row = t * width;
          for (let head = 0; head < nHead; head++) {
            const Q = behind[head];
            const at = row + head * dK;
            timesBehind(rows, at + keys, Q, remaining);
            const write = rows[row + 4 * keys + head];
            written[t] += write * norm(rows, at + keys, dK);
            held[t] += write * norm(remaining, 0, dK);
            // Q ← (diag(w) − κ̂ᵀ (a ⊙ κ̂)) Q
            timesBehind(rows, at + 3 * keys, Q, removed);
            for (let i = 0; i < dK; i++) {
              const kept = rows[at + i];
              const kappa = rows[at + 2 * keys + i];
              for (let j = 0; j < dK; j++) {
                Q[i * dK + j] = kept * Q[i * dK + j] - kappa * removed[j];
              }
            }
          }
        }
        return { written, held };
      },
    };
  },
};
