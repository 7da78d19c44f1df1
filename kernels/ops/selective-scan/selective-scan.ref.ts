import { silu, softplus } from "../../spec/activations.ts";
import type { ReferenceMemory } from "../../spec/reference.ts";
import type { SelectiveScanOperands } from "./selective-scan.ts";

/**
 * dt = softplus(dtRaw + dtBias); h[t] = exp(dt A) ⊙ h[t−1] + dt B[t] x[t]; y[t] = (C[t] · h[t] + D x[t]) · silu(z[t]).
 * Source: arXiv:2312.00752 algorithm 2, eq. 2a, 2b; the plain recurrence.
 */
export function selectiveScanRef(memory: ReferenceMemory, operands: SelectiveScanOperands): void {
  const { length: T, nGroup } = operands;
  const dInner = operands.A.rows;
  const dState = operands.A.cols;
  const x = memory.rows(operands.x); // (B * T, dInner)
  const dtRaw = memory.rows(operands.dtRaw); // (B * T, dInner)
  const B = memory.rows(operands.B); // (B * T, nGroup * dState)
  const C = memory.rows(operands.C); // (B * T, nGroup * dState)
  const z = operands.z && memory.rows(operands.z); // (B * T, dInner)
  const y = memory.rows(operands.y); // (B * T, dInner)
  const states = memory.rows(operands.state); // (B, dInner * dState)
  const dtBias = operands.dtBias && memory.weightRow(operands.dtBias, 0); // (dInner)
  const D = operands.D && memory.weightRow(operands.D, 0); // (dInner)
  for (let b = 0; b < states.length; b++) {
    for (let d = 0; d < dInner; d++) {
      const A = memory.weightRow(operands.A, d); // (dState)
      const h = states[b].subarray(d * dState, (d + 1) * dState); // (dState)
      const group = Math.floor((d * nGroup) / dInner) * dState; // first column of this channel's B and C
      for (let t = b * T; t < (b + 1) * T; t++) {
        const raw = dtRaw[t][d] + (dtBias ? dtBias[d] : 0);
        const dt = operands.dtSoftplus ? softplus(raw) : raw;
        let sum = D ? D[d] * x[t][d] : 0;
        for (let n = 0; n < dState; n++) {
          h[n] = Math.exp(dt * A[n]) * h[n] + dt * B[t][group + n] * x[t][d]; // eq. 2a
          sum += C[t][group + n] * h[n]; // eq. 2b
        }
        y[t][d] = z ? sum * silu(z[t][d]) : sum;
      }
    }
  }
}
