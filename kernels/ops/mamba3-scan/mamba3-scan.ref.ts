import { sigmoid, silu, softplus } from "../../spec/activations.ts";
import type { ReferenceMemory } from "../../spec/reference.ts";
import type { DecayActivation, Mamba3ScanOperands } from "./mamba3-scan.ts";

/** The plain recurrence of `mamba3Scan`, head by head, token by token. Source: arXiv:2603.15569; `mamba3_siso_step_ref`. */
export function mamba3ScanRef(memory: ReferenceMemory, operands: Mamba3ScanOperands): void {
  const { length: T, nGroup, rank, aFloor, decay, pairs, eps } = operands;
  const nHead = operands.D.cols;
  const dState = operands.BBias.cols;
  const headDim = operands.x.cols / nHead;
  const nAngle = operands.angleRaw.cols;
  const x = memory.rows(operands.x); // (B * T, nHead * headDim)
  const z = memory.rows(operands.z); // (B * T, nHead * headDim)
  const B = memory.rows(operands.B); // (B * T, rank * nGroup * dState)
  const C = memory.rows(operands.C); // (B * T, rank * nGroup * dState)
  const dtRaw = memory.rows(operands.dtRaw); // (B * T, nHead)
  const aRaw = memory.rows(operands.aRaw); // (B * T, nHead)
  const trap = memory.rows(operands.trap); // (B * T, nHead)
  const angleRaw = memory.rows(operands.angleRaw); // (B * T, nAngle)
  const y = memory.rows(operands.y); // (B * T, nHead * headDim)
  const angles = memory.rows(operands.angles); // (B, nHead * nAngle)
  const states = memory.rows(operands.state); // (B, nHead * headDim * dState)
  const keys = memory.rows(operands.keys); // (B, nHead * rank * dState)
  const values = memory.rows(operands.values); // (B, nHead * rank * headDim)
  const dtBias = memory.weightRow(operands.dtBias, 0); // (nHead)
  const D = memory.weightRow(operands.D, 0); // (nHead)
  const norm = operands.norm && memory.weightRow(operands.norm, 0); // (nHead * headDim)
  const ones = new Float32Array(headDim).fill(1);
  const q = new Float64Array(dState);
  const o = new Float64Array(headDim);

  for (const [b, h] of states.entries()) {
    for (let head = 0; head < nHead; head++) {
      const group = Math.floor((head * nGroup) / nHead);
      const angle = angles[b].subarray(head * nAngle, (head + 1) * nAngle);
      for (let t = b * T; t < (b + 1) * T; t++) {
        const dt = softplus(dtRaw[t][head] + dtBias[head]);
        const alpha = Math.exp(dt * Math.min(-decayOf(decay, aRaw[t][head]), -aFloor));
        const lambda = sigmoid(trap[t][head]);
        for (let s = 0; s < nAngle; s++) {
          const next = angle[s] + Math.PI * dt * Math.tanh(angleRaw[t][s]);
          angle[s] = next - 2 * Math.PI * Math.floor(next / (2 * Math.PI));
        }
        /** h = factor h + scale Σ_r v_r ⊗ k_r */
        const advance = (factor: number, scale: number): void => {
          for (let p = 0; p < headDim; p++) {
            for (let n = 0; n < dState; n++) {
              let sum = 0;
              for (let row = head * rank; row < (head + 1) * rank; row++) {
                sum += values[b][row * headDim + p] * keys[b][row * dState + n];
              }
              const at = (head * headDim + p) * dState + n;
              h[at] = factor * h[at] + scale * sum;
            }
          }
        };
        advance(alpha, alpha * (1 - lambda) * dt);
        for (let r = 0; r < rank; r++) {
          const row = head * rank + r;
          const column = (r * nGroup + group) * dState;
          const key = keys[b].subarray(row * dState, (row + 1) * dState);
          const bias = memory.weightRow(operands.BBias, row);
          key.forEach((_, n) => (key[n] = B[t][column + n] + bias[n]));
          rotate(key, angle, pairs);
          const mimoX = operands.mimoX === null ? ones : memory.weightRow(operands.mimoX, row);
          for (let p = 0; p < headDim; p++) {
            values[b][row * headDim + p] = x[t][head * headDim + p] * mimoX[p];
          }
        }
        advance(1, lambda * dt);

        const out = y[t].subarray(head * headDim, (head + 1) * headDim);
        out.fill(0);
        for (let r = 0; r < rank; r++) {
          const row = head * rank + r;
          const column = (r * nGroup + group) * dState;
          const bias = memory.weightRow(operands.CBias, row);
          q.forEach((_, n) => (q[n] = C[t][column + n] + bias[n]));
          rotate(q, angle, pairs);
          let squares = 0;
          for (let p = 0; p < headDim; p++) {
            o[p] = D[head] * values[b][row * headDim + p];
            for (let n = 0; n < dState; n++) o[p] += h[(head * headDim + p) * dState + n] * q[n];
            squares += o[p] ** 2;
          }
          const scale = norm === null ? 1 : 1 / Math.sqrt(squares / headDim + eps);
          const mimoZ = operands.mimoZ === null ? ones : memory.weightRow(operands.mimoZ, row);
          const mimoO = operands.mimoO === null ? ones : memory.weightRow(operands.mimoO, row);
          for (let p = 0; p < headDim; p++) {
            const channel = head * headDim + p;
            const normed = o[p] * scale * (norm === null ? 1 : norm[channel]);
            out[p] += mimoO[p] * normed * silu(z[t][channel] * mimoZ[p]);
          }
        }
      }
    }
  }
}

function decayOf(decay: DecayActivation, x: number): number {
  return decay === "softplus" ? softplus(x) : Math.max(x, 0) + 1 / (1 - Math.min(x, 0));
}

/** Rotates the first pairs of x by the angles; the other columns stay. */
function rotate(
  x: Float32Array | Float64Array,
  angles: Float32Array,
  pairs: Mamba3ScanOperands["pairs"],
): void {
  angles.forEach((angle, i) => {
    const [a, b] = pairs === "neighbours" ? [2 * i, 2 * i + 1] : [i, i + x.length / 2];
    const [x0, x1] = [x[a], x[b]];
    x[a] = x0 * Math.cos(angle) - x1 * Math.sin(angle);
    x[b] = x0 * Math.sin(angle) + x1 * Math.cos(angle);
  });
}
