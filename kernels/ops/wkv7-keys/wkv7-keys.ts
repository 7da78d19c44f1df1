import { KernelError } from "../../spec/errors.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape, split } from "../../spec/views.ts";

export const wkv7KeysOp = {
  name: "wkv7-keys",
  access: { k: "read", w: "read", a: "read", y: "write" },
} as const satisfies OpDeclaration;

export interface Wkv7KeysOperands {
  /** (rows, channels): the key before it is divided into two. */
  readonly k: Tensor;
  /** (rows, channels): d, what the decay is made of. */
  readonly w: Tensor;
  /** (rows, channels): the in-context learning rate before its sigmoid. */
  readonly a: Tensor;
  /** (1, channels): ξ, which channels are removed. */
  readonly removal: Weight;
  /** (1, channels): α, how far the learning rate goes into the replacement key. */
  readonly replacement: Weight;
  readonly nHead: number;
  /** Added under the root of a head's squared length. */
  readonly eps: number;
  /** (rows, 4 * channels): w, a, κ̂, k̃ side by side. */
  readonly y: Tensor;
}

/**
 * What the recurrence of RWKV-7 needs, from what the projections give:
 * w = exp(−e^−½ σ(d)); a = σ(a); κ̂ = (k ⊙ ξ) / ‖k ⊙ ξ‖ head by head; k̃ = k ⊙ (1 + (a − 1) ⊙ α).
 * Source: RWKV-7 (arXiv:2503.14456) §4.1.
 */
export function wkv7Keys(
  recorder: Recorder,
  operands: Omit<Wkv7KeysOperands, "y">,
): {
  readonly w: Tensor;
  readonly a: Tensor;
  readonly kappa: Tensor;
  readonly k: Tensor;
} {
  const { k, w, a, removal, replacement, nHead, eps } = operands;
  const { rows, cols } = k;
  if (!Number.isInteger(nHead) || nHead < 1 || cols % nHead !== 0)
    throw new KernelError("shape", `wkv7-keys: ${nHead} heads do not divide ${cols} channels`);
  expectShape("wkv7-keys", "w", w, rows, cols);
  expectShape("wkv7-keys", "a", a, rows, cols);
  expectShape("wkv7-keys", "removal", removal, 1, cols);
  expectShape("wkv7-keys", "replacement", replacement, 1, cols);
  const y = recorder.temporary(rows, 4 * cols);
  recorder.record(wkv7KeysOp, {
    k,
    w,
    a,
    removal,
    replacement,
    nHead,
    eps,
    y,
  } satisfies Wkv7KeysOperands & Record<string, unknown>);
  const [decay, rate, kappa, key] = split(y, [cols, cols, cols, cols]);
  return { w: decay, a: rate, kappa, k: key };
}
