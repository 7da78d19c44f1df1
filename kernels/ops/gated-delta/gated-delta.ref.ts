import { sigmoid, softplus } from "../../spec/activations.ts";
import type { ReferenceMemory } from "../../spec/reference.ts";
import type { GatedDeltaOperands } from "./gated-delta.ts";

/** S ← diag(α) S; S ← S + β k (v − Sᵀ k)ᵀ; y = scale · Sᵀ q. Source: arXiv:2412.06464 eq. 10, token by token. */
export function gatedDeltaRef(memory: ReferenceMemory, operands: GatedDeltaOperands): void {
  const { nKeyHead, nValueHead, headDimK, headDimV, betaScale, scale, length } = operands;
  const q = memory.rows(operands.q); // (B * T, nKeyHead * headDimK)
  const k = memory.rows(operands.k); // (B * T, nKeyHead * headDimK)
  const v = memory.rows(operands.v); // (B * T, nValueHead * headDimV)
  const dtRaw = memory.rows(operands.dtRaw); // (B * T, nValueHead or nValueHead * headDimK)
  const betaRaw = memory.rows(operands.betaRaw); // (B * T, nValueHead)
  const y = memory.rows(operands.y); // (B * T, nValueHead * headDimV)
  const states = memory.rows(operands.state); // (B, nValueHead * headDimK * headDimV)
  const dtBias = memory.weightRow(operands.dtBias, 0); // (nValueHead or nValueHead * headDimK)
  const A = memory.weightRow(operands.A, 0); // (nValueHead)
  const perHead = operands.dtRaw.cols === nValueHead;
  const repeat = nValueHead / nKeyHead;
  for (let b = 0; b < states.length; b++) {
    for (let head = 0; head < nValueHead; head++) {
      const key =
        (operands.keyHeads === "grouped" ? Math.floor(head / repeat) : head % nKeyHead) * headDimK;
      const value = head * headDimV;
      // In f64 within the run: the corrections v − Sᵀ k are differences.
      const S = Float64Array.from(
        states[b].subarray(head * headDimK * headDimV, (head + 1) * headDimK * headDimV),
      ); // (headDimK, headDimV)
      for (let t = b * length; t < (b + 1) * length; t++) {
        const beta = betaScale * sigmoid(betaRaw[t][head]);
        for (let i = 0; i < headDimK; i++) {
          const channel = perHead ? head : head * headDimK + i;
          const alpha = Math.exp(A[head] * softplus(dtRaw[t][channel] + dtBias[channel]));
          for (let j = 0; j < headDimV; j++) S[i * headDimV + j] *= alpha;
        }
        for (let j = 0; j < headDimV; j++) {
          let held = 0; // what S answers to k
          for (let i = 0; i < headDimK; i++) held += S[i * headDimV + j] * k[t][key + i];
          const delta = beta * (v[t][value + j] - held);
          let sum = 0;
          for (let i = 0; i < headDimK; i++) {
            S[i * headDimV + j] += k[t][key + i] * delta;
            sum += S[i * headDimV + j] * q[t][key + i];
          }
          y[t][value + j] = scale * sum;
        }
      }
      states[b].set(S, head * headDimK * headDimV);
    }
  }
}
