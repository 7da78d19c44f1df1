import { KernelError } from "../../spec/errors.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const wkv7Op = {
  name: "wkv7",
  access: {
    r: "read",
    w: "read",
    k: "read",
    v: "read",
    kappa: "read",
    a: "read",
    state: "update",
    y: "write",
  },
} as const satisfies OpDeclaration;

export interface Wkv7Operands {
  /** (B * T, nHead * K): receptance. */
  readonly r: Tensor;
  /** (B * T, nHead * K): what is left of each key channel of the state, in 0 … 1. */
  readonly w: Tensor;
  /** (B * T, nHead * K): the replacement key k̃. */
  readonly k: Tensor;
  /** (B * T, nHead * V) */
  readonly v: Tensor;
  /** (B * T, nHead * K): the removal key κ̂, of length 1 in each head. */
  readonly kappa: Tensor;
  /** (B * T, nHead * K): the in-context learning rate, in 0 … 1. */
  readonly a: Tensor;
  /** (B, nHead * V * K): each head's state, a row a value channel. Read, then replaced. */
  readonly state: Tensor;
  readonly nHead: number;
  /** T */
  readonly length: number;
  /** (B * T, nHead * V) */
  readonly y: Tensor;
}

/**
 * In each head: S[t] = S[t−1] (diag(w) − κ̂ᵀ (a ⊙ κ̂)) + vᵀ k̃; y[t] = r S[t]ᵀ.
 * Source: RWKV-7 (arXiv:2503.14456) §4.1; all vectors are rows there.
 */
export function wkv7(recorder: Recorder, operands: Omit<Wkv7Operands, "y" | "length">): Tensor {
  const { r, w, k, v, kappa, a, state, nHead } = operands;
  const rows = recorder.batch * recorder.length;
  if (!Number.isInteger(nHead) || nHead < 1 || r.cols % nHead !== 0 || v.cols % nHead !== 0) {
    throw new KernelError(
      "shape",
      `wkv7: ${nHead} heads do not divide ${r.cols} keys and ${v.cols} values`,
    );
  }
  expectShape("wkv7", "r", r, rows, r.cols);
  for (const [name, tensor] of Object.entries({ w, k, kappa, a }))
    expectShape("wkv7", name, tensor, rows, r.cols);
  expectShape("wkv7", "v", v, rows, v.cols);
  expectShape("wkv7", "state", state, recorder.batch, (v.cols * r.cols) / nHead);
  const y = recorder.temporary(rows, v.cols);
  recorder.record(wkv7Op, {
    r,
    w,
    k,
    v,
    kappa,
    a,
    state,
    nHead,
    length: recorder.length,
    y,
  } satisfies Wkv7Operands & Record<string, unknown>);
  return y;
}
