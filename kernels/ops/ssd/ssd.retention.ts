import { softplus } from "../../spec/activations.ts";
import {
  columnsOf,
  norm,
  numberOperand,
  requiredVector,
  vectorOperand,
  type RetentionRule,
} from "../../spec/retention.ts";

/**
 * Mamba-2: in each head a token writes dt x ⊗ B, and every later one multiplies it by exp(dt A).
 * Source: arXiv:2405.21060 §6. A row: log decays of the heads, then norms of their writes.
 */
export const ssdRetention: RetentionRule = {
  traced: ["x", "dtRaw", "B"],
  weights: ["dtBias", "A"],
  create(operands, vector) {
    const A = requiredVector(operands, "A", vector); // (nHead)
    const dtBias = vectorOperand(operands, "dtBias", vector); // (nHead)
    const nHead = A.length;
    const headDim = columnsOf(operands, "x") / nHead;
    const nGroup = numberOperand(operands, "nGroup");
    const dState = columnsOf(operands, "B") / nGroup;
    const [dtMin, dtMax] = [numberOperand(operands, "dtMin"), numberOperand(operands, "dtMax")];
    const width = 2 * nHead;
    const behind = new Float64Array(nHead); // Σ dt A of all later tokens
    return {
      width,
      reduce({ x, dtRaw, B }, length) {
        const rows = new Float32Array(length * width);
        for (let t = 0; t < length; t++) {
          for (let p = 0; p < nHead; p++) {
            const raw = dtRaw[t * nHead + p] + (dtBias?.[p] ?? 0);
            const dt = Math.min(
              Math.max(operands["dtSoftplus"] === true ? softplus(raw) : raw, dtMin),
              dtMax,
            );
            const group = Math.floor((p * nGroup) / nHead);
            rows[t * width + p] = dt * A[p];
            rows[t * width + nHead + p] =
              dt *
              norm(x, (t * nHead + p) * headDim, headDim) *
              norm(B, (t * nGroup + group) * dState, dState);
          }
        }
        return rows;
      },
      back(rows, length) {
        const written = new Float64Array(length);
        const held = new Float64Array(length);
        for (let t = length - 1; t >= 0; t--) {
          for (let p = 0; p < nHead; p++) {
            const write = rows[t * width + nHead + p];
            written[t] += write;
            held[t] += write * Math.exp(behind[p]);
            behind[p] += rows[t * width + p];
          }
        }
        return { written, held };
      },
    };
  },
};
