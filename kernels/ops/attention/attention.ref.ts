import type { ReferenceMemory } from "../../spec/reference.ts";
import type { Tensor } from "../../spec/tensor.ts";
import type { AttentionOperands } from "./attention.ts";

/** Source: arXiv:1706.03762 eq. 1, with the largest score taken off before the exponentials. */
export function attentionRef(memory: ReferenceMemory, operands: AttentionOperands): void {
  const { nHead, nKvHead, headDimK, headDimV, scale, softCap, window, length } = operands;
  const q = memory.rows(operands.q); // (B * T, nHead * headDimK)
  const k = memory.rows(operands.k); // (B * T, nKvHead * headDimK)
  const v = memory.rows(operands.v); // (B * T, nKvHead * headDimV)
  const y = memory.rows(operands.y); // (B * T, nHead * headDimV)
  for (let b = 0; b < q.length / length; b++) {
    const before = memory.positions[b];
    const keys = openSlot(memory, operands.keys, b, window, nKvHead * headDimK);
    const values = openSlot(memory, operands.values, b, window, nKvHead * headDimV);
    for (let t = 0; t < length; t++) {
      const row = b * length + t;
      const position = before + t;
      const first = window === null ? 0 : Math.max(0, position - window + 1);
      y[row].fill(0);
      for (let head = 0; head < nHead; head++) {
        const kvHead = Math.floor((head * nKvHead) / nHead);
        const scores: number[] = [];
        for (let s = first; s <= position; s++) {
          const key = s < before ? keys.at(s) : k[b * length + s - before];
          let dot = 0;
          for (let i = 0; i < headDimK; i++) {
            dot += q[row][head * headDimK + i] * key[kvHead * headDimK + i];
          }
          const score = scale * dot;
          scores.push(softCap === null ? score : softCap * Math.tanh(score / softCap));
        }
        const largest = scores.reduce((most, score) => Math.max(most, score), -Infinity);
        const weights = scores.map((score) => Math.exp(score - largest));
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        for (let i = 0; i < headDimV; i++) {
          let sum = 0;
          for (let s = first; s <= position; s++) {
            const value = s < before ? values.at(s) : v[b * length + s - before];
            sum += weights[s - first] * value[kvHead * headDimV + i];
          }
          y[row][head * headDimV + i] = sum / total;
        }
      }
    }
    for (let t = 0; t < length; t++) {
      keys.store(before + t, k[b * length + t]);
      values.store(before + t, v[b * length + t]);
    }
  }
}

interface OpenSlot {
  at(position: number): ArrayLike<number>;
  store(position: number, values: Float32Array): void;
}

/** One sequence's rows of a slot, by position: a slot that grows, or the ring of a window. */
function openSlot(
  memory: ReferenceMemory,
  slot: Tensor,
  sequence: number,
  window: number | null,
  width: number,
): OpenSlot {
  if (window === null) {
    const grown = memory.grown(slot, sequence);
    return { at: (position) => grown.rows[position], store: grown.store };
  }
  const ring = memory.rows(slot)[sequence]; // (window * width)
  return {
    at: (position) => ring.subarray((position % window) * width, ((position % window) + 1) * width),
    store: (position, values) => ring.set(values, (position % window) * width),
  };
}
