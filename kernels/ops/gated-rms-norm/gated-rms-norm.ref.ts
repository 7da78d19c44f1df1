import { silu } from "../../spec/activations.ts";
import type { ReferenceMemory } from "../../spec/reference.ts";
import type { GatedRmsNormOperands } from "./gated-rms-norm.ts";

/**
 * g = x · silu(z); y = g / sqrt(mean over the group(g²) + eps) · weight.
 * Source: arXiv:2405.21060 §7.1; transformers `MambaRMSNormGated`.
 */
export function gatedRmsNormRef(memory: ReferenceMemory, operands: GatedRmsNormOperands): void {
  const { eps, groupSize } = operands;
  const x = memory.rows(operands.x); // (rows, dInner)
  const z = memory.rows(operands.z); // (rows, dInner)
  const y = memory.rows(operands.y); // (rows, dInner)
  const weight = memory.weightRow(operands.weight, 0); // (dInner)
  const dInner = weight.length;
  const g = new Float64Array(dInner); // (dInner)
  for (let t = 0; t < x.length; t++) {
    for (let i = 0; i < dInner; i++) g[i] = x[t][i] * silu(z[t][i]);
    for (let first = 0; first < dInner; first += groupSize) {
      let squares = 0;
      for (let i = first; i < first + groupSize; i++) squares += g[i] * g[i];
      const scale = 1 / Math.sqrt(squares / groupSize + eps);
      for (let i = first; i < first + groupSize; i++) y[t][i] = g[i] * scale * weight[i];
    }
  }
}
