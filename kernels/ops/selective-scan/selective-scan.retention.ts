import { softplus } from "../../spec/activations.ts";
import {
  columnsOf,
  norm,
  numberOperand,
  requiredVector,
  vectorOperand,
  type RetentionRule,
} from "../../spec/retention.ts";

/** exp of less is nothing beside what f32 holds of a state. */
const FORGOTTEN = -20;

/**
 * Mamba-1: a token writes dt B x into each channel's states, and every later one multiplies state n of channel d by
 * exp(dt A[d, n]). Source: arXiv:2312.00752 algorithm 2. A row: dt of the channels, their writes |dt x|, then B.
 */
export const selectiveScanRetention: RetentionRule = {
  traced: ["x", "dtRaw", "B"],
  weights: ["dtBias", "A"],
  create(operands, vector) {
    const A = requiredVector(operands, "A", vector); // (dInner, dState)
    const dtBias = vectorOperand(operands, "dtBias", vector); // (dInner)
    const dState = columnsOf(operands, "A");
    const dInner = A.length / dState;
    const nGroup = numberOperand(operands, "nGroup");
    const dB = columnsOf(operands, "B");
    const width = 2 * dInner + dB;
    const behind = new Float64Array(dInner); // Σ dt of all later tokens
    /** ‖exp(A s) ⊙ B‖ of channel d, B from `from` on. */
    function heldNorm(rows: Float32Array, from: number, d: number): number {
      let sum = 0;
      for (let n = 0; n < dState; n++) {
        const exponent = A[d * dState + n] * behind[d];
        if (exponent < FORGOTTEN) continue;
        const value = rows[from + n] * Math.exp(exponent);
        sum += value * value;
      }
      return Math.sqrt(sum);
    }
    return {
      width,
      reduce({ x, dtRaw, B }, length) {
        const rows = new Float32Array(length * width);
        for (let t = 0; t < length; t++) {
          const row = t * width;
          for (let d = 0; d < dInner; d++) {
            const raw = dtRaw[t * dInner + d] + (dtBias?.[d] ?? 0);
            const dt = operands["dtSoftplus"] === true ? softplus(raw) : raw;
            rows[row + d] = dt;
            rows[row + dInner + d] = Math.abs(dt * x[t * dInner + d]);
          }
          rows.set(B.subarray(t * dB, (t + 1) * dB), row + 2 * dInner);
        }
        return rows;
      },
      back(rows, length) {
        const written = new Float64Array(length);
        const held = new Float64Array(length);
        const norms = new Float64Array(nGroup);
        for (let t = length - 1; t >= 0; t--) {
          const row = t * width;
          for (let g = 0; g < nGroup; g++) {
            norms[g] = norm(rows, row + 2 * dInner + g * dState, dState);
          }
          for (let d = 0; d < dInner; d++) {
            const group = Math.floor((d * nGroup) / dInner);
            const write = rows[row + dInner + d];
            written[t] += write * norms[group];
            held[t] += write * heldNorm(rows, row + 2 * dInner + group * dState, d);
            behind[d] += rows[row + d];
          }
        }
        return { written, held };
      },
    };
  },
};
