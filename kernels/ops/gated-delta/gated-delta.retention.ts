import { sigmoid, softplus } from "../../spec/activations.ts";
import {
  columnsOf,
  norm,
  numberOperand,
  requiredVector,
  type RetentionRule,
} from "../../spec/retention.ts";

/**
 * The gated delta rule: in each head a token writes β k vᵀ, and every later one multiplies it by (I − β k kᵀ) diag(α).
 * Source: arXiv:2412.06464 eq. 10; with α a channel arXiv:2510.26692 eq. 1.
 * A row: the keys, then for each value head its α (one, or headDimK), β, and ‖v‖.
 */
export const gatedDeltaRetention: RetentionRule = {
  traced: ["k", "v", "dtRaw", "betaRaw"],
  weights: ["dtBias", "A"],
  create(operands, vector) {
    const A = requiredVector(operands, "A", vector); // (nValueHead)
    const dtBias = requiredVector(operands, "dtBias", vector); // (columns of dtRaw)
    const nKeyHead = numberOperand(operands, "nKeyHead");
    const nHead = numberOperand(operands, "nValueHead");
    const dK = numberOperand(operands, "headDimK");
    const dV = numberOperand(operands, "headDimV");
    const betaScale = numberOperand(operands, "betaScale");
    const keys = nKeyHead * dK;
    const decays = columnsOf(operands, "dtRaw");
    const perHead = decays === nHead;
    const width = keys + decays + 2 * nHead;
    // Of each head Π of all later transitions, (dK, dK); the latest one stands left.
    const behind = Array.from({ length: nHead }, () => identity(dK));
    const remaining = new Float64Array(dK);

    function firstKey(head: number): number {
      const keyHead =
        operands["keyHeads"] === "grouped"
          ? Math.floor((head * nKeyHead) / nHead)
          : head % nKeyHead;
      return keyHead * dK;
    }

    return {
      width,
      reduce({ k, v, dtRaw, betaRaw }, length) {
        const rows = new Float32Array(length * width);
        for (let t = 0; t < length; t++) {
          const row = t * width;
          rows.set(k.subarray(t * keys, (t + 1) * keys), row);
          for (let c = 0; c < decays; c++) {
            const head = perHead ? c : Math.floor(c / dK);
            rows[row + keys + c] = Math.exp(A[head] * softplus(dtRaw[t * decays + c] + dtBias[c]));
          }
          for (let head = 0; head < nHead; head++) {
            const at = row + keys + decays + 2 * head;
            rows[at] = betaScale * sigmoid(betaRaw[t * nHead + head]);
            rows[at + 1] = norm(v, (t * nHead + head) * dV, dV);
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
            const P = behind[head];
            const key = row + firstKey(head);
            const at = row + keys + decays + 2 * head;
            const beta = rows[at];
            for (let i = 0; i < dK; i++) {
              let sum = 0;
              for (let j = 0; j < dK; j++) sum += P[i * dK + j] * rows[key + j];
              remaining[i] = sum;
            }
            const write = Math.abs(beta) * rows[at + 1];
            written[t] += write * norm(rows, key, dK);
            held[t] += write * norm(remaining, 0, dK);
            // P ← P (I − β k kᵀ) diag(α)
            for (let j = 0; j < dK; j++) {
              const alpha = rows[row + keys + (perHead ? head : head * dK + j)];
              const correction = beta * rows[key + j];
              for (let i = 0; i < dK; i++) {
                P[i * dK + j] = (P[i * dK + j] - remaining[i] * correction) * alpha;
              }
            }
          }
        }
        return { written, held };
      },
    };
  },
};

function identity(size: number): Float64Array {
  const matrix = new Float64Array(size * size);
  for (let i = 0; i < size; i++) matrix[i * size + i] = 1;
  return matrix;
}
