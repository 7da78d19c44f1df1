import { silu, softplus } from "../../spec/activations.ts";
import type { ReferenceMemory } from "../../spec/reference.ts";
import type { SsdOperands } from "./ssd.ts";

/**
 * Per head p: dt = clamp(softplus(dtRaw + dtBias)); h[t] = exp(dt A) h[t−1] + dt x[t] ⊗ B[t]; y[t] = h[t] C[t] + D x[t],
 * then y · silu(z) if z is given. Source: arXiv:2405.21060 §2.1, eq. 1, with A a scalar a head: the plain recurrence,
 * which knows nothing of chunks and so judges them.
 */
export function ssdRef(memory: ReferenceMemory, operands: SsdOperands): void {
  const { length: T, nGroup, dtMin, dtMax } = operands;
  const x = memory.rows(operands.x); // (B * T, nHead * headDim)
  const dtRaw = memory.rows(operands.dtRaw); // (B * T, nHead)
  const B = memory.rows(operands.B); // (B * T, nGroup * dState)
  const C = memory.rows(operands.C); // (B * T, nGroup * dState)
  const z = operands.z && memory.rows(operands.z); // (B * T, nHead * headDim)
  const y = memory.rows(operands.y); // (B * T, nHead * headDim)
  const states = memory.rows(operands.state); // (B, nHead * headDim * dState)
  const A = memory.weightRow(operands.A, 0); // (nHead)
  const dtBias = operands.dtBias && memory.weightRow(operands.dtBias, 0); // (nHead)
  const D = operands.D && memory.weightRow(operands.D, 0); // (nHead)
  const nHead = A.length;
  const headDim = operands.x.cols / nHead;
  const dState = operands.B.cols / nGroup;
  for (let b = 0; b < states.length; b++) {
    for (let p = 0; p < nHead; p++) {
      const group = Math.floor((p * nGroup) / nHead) * dState; // first column of this head's B and C
      for (let t = b * T; t < (b + 1) * T; t++) {
        const raw = dtRaw[t][p] + (dtBias ? dtBias[p] : 0);
        const dt = Math.min(Math.max(operands.dtSoftplus ? softplus(raw) : raw, dtMin), dtMax);
        const decay = Math.exp(dt * A[p]);
        for (let i = p * headDim; i < (p + 1) * headDim; i++) {
          const h = states[b].subarray(i * dState, (i + 1) * dState); // (dState)
          let sum = D ? D[p] * x[t][i] : 0;
          for (let n = 0; n < dState; n++) {
            h[n] = decay * h[n] + dt * x[t][i] * B[t][group + n];
            sum += C[t][group + n] * h[n];
          }
          y[t][i] = z ? sum * silu(z[t][i]) : sum;
        }
      }
    }
  }
}
