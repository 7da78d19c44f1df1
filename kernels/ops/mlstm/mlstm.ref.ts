import { softplus } from "../../spec/activations.ts";
import type { ReferenceMemory } from "../../spec/reference.ts";
import type { MlstmOperands } from "./mlstm.ts";

/** The stabilised recurrence, a token at a time. Source: arXiv:2405.04517 eq. 19–27. */
export function mlstmRef(memory: ReferenceMemory, operands: MlstmOperands): void {
  const { length: T, nHead, eps } = operands;
  const q = memory.rows(operands.q); // (B * T, nHead * dK)
  const k = memory.rows(operands.k); // (B * T, nHead * dK)
  const v = memory.rows(operands.v); // (B * T, nHead * dV)
  const inputGate = memory.rows(operands.inputGate); // (B * T, nHead)
  const forgetGate = memory.rows(operands.forgetGate); // (B * T, nHead)
  const y = memory.rows(operands.y); // (B * T, nHead * dV)
  const states = memory.rows(operands.state); // (B, nHead * (dK * dV + dK + 1))
  const dK = operands.q.cols / nHead;
  const dV = operands.v.cols / nHead;
  const size = dK * (dV + 1) + 1;
  for (let b = 0; b < states.length; b++) {
    for (let p = 0; p < nHead; p++) {
      const state = states[b].subarray(p * size, (p + 1) * size);
      const C = state.subarray(0, dK * dV); // (dK, dV)
      const n = state.subarray(dK * dV, dK * dV + dK); // (dK)
      const m = state.subarray(dK * dV + dK); // (1)
      for (let row = b * T; row < (b + 1) * T; row++) {
        const logF = -softplus(-forgetGate[row][p]); // log σ(f̃)
        // Rounded as it is kept, so that the scale of C and n is exactly that of m.
        const largest = Math.fround(Math.max(logF + m[0], inputGate[row][p]));
        const f = Math.exp(logF + m[0] - largest);
        const i = Math.exp(inputGate[row][p] - largest);
        m[0] = largest;
        let dot = 0;
        const sums = new Float64Array(dV);
        for (let r = 0; r < dK; r++) {
          const key = i * k[row][p * dK + r];
          const query = q[row][p * dK + r] / Math.sqrt(dK);
          n[r] = f * n[r] + key;
          dot += query * n[r];
          for (let c = 0; c < dV; c++) {
            C[r * dV + c] = f * C[r * dV + c] + key * v[row][p * dV + c];
            sums[c] += query * C[r * dV + c];
          }
        }
        const divisor = Math.max(Math.abs(dot), Math.exp(-largest)) + eps;
        for (let c = 0; c < dV; c++) y[row][p * dV + c] = sums[c] / divisor;
      }
    }
  }
}
