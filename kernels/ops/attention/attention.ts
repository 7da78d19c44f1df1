import { KernelError } from "../../spec/errors.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { StateSlot, Tensor } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const attentionOp = {
  name: "attention",
  access: {
    q: "read",
    k: "read",
    v: "read",
    keys: "update",
    values: "update",
    y: "write",
  },
} as const satisfies OpDeclaration;

export interface AttentionOperands {
  /** (B * T, nHead * headDimK), rotated. */
  readonly q: Tensor;
  /** (B * T, nKvHead * headDimK), rotated: the run's own keys. */
  readonly k: Tensor;
  /** (B * T, nKvHead * headDimV) */
  readonly v: Tensor;
  /**
   * The keys of earlier tokens. Without a window a slot that grows, shape (nKvHead, headDimK). With one a slot of shape
   * (window, nKvHead, headDimK) that holds position p in row p mod window. Read; then the run's own are added.
   */
  readonly keys: Tensor;
  /** Likewise, with headDimV. */
  readonly values: Tensor;
  readonly nHead: number;
  /** Query head h reads key head floor(h · nKvHead / nHead). */
  readonly nKvHead: number;
  readonly headDimK: number;
  readonly headDimV: number;
  /** Multiplies q · k. */
  readonly scale: number;
  /** c in c · tanh(score / c), or null for none. */
  readonly softCap: number | null;
  /** A token sees itself and the `window - 1` before it; null: all before it. */
  readonly window: number | null;
  /** T */
  readonly length: number;
  /** (B * T, nHead * headDimV) */
  readonly y: Tensor;
}

/** The two slots that `attention` needs, keys first. */
export function attentionSlots(
  prefix: string,
  shape: {
    readonly nKvHead: number;
    readonly headDimK: number;
    readonly headDimV: number;
    readonly window: number | null;
  },
): readonly [keys: StateSlot, values: StateSlot] {
  const slot = (name: string, headDim: number): StateSlot =>
    shape.window === null
      ? { name: `${prefix}.${name}`, shape: [shape.nKvHead, headDim], grows: true }
      : { name: `${prefix}.${name}`, shape: [shape.window, shape.nKvHead, headDim] };
  return [slot("keys", shape.headDimK), slot("values", shape.headDimV)];
}

/**
 * How both slots are kept, for a backend that compiles the op.
 * @throws KernelError `shape` where a slot grows although there is a window, or the other way round; `dtype` where the
 * two differ
 */
export function slotDtype(
  { keys, values, window }: AttentionOperands,
  slotOf: (tensor: Tensor) => StateSlot,
): "f32" | "f16" {
  const [first, second] = [keys, values].map((tensor) => {
    const { name, grows = false, dtype = "f32" } = slotOf(tensor);
    if (grows === (window === null)) return grows ? dtype : "f32";
    throw new KernelError(
      "shape",
      `attention: slot "${name}" ${grows ? "grows, but there is a window" : "does not grow, and there is no window"}`,
    );
  });
  if (first === second) return first;
  throw new KernelError(
    "dtype",
    `attention: the keys are kept as ${first}, the values as ${second}`,
  );
}

/**
 * Causal attention: y[t, h] = Σ_s softmax_s(cap(scale · q[t, h] · k[s, g])) v[s, g] over the tokens s ≤ t that t sees.
 * The softmax is made as the keys come by (Milakov & Gimelshein 2018, arXiv:1805.02867), so that memory does not depend
 * on how many there are. Source: Vaswani et al. 2017 (arXiv:1706.03762) §3.2; grouped heads arXiv:2305.13245.
 */
export function attention(
  k: Recorder,
  operands: Omit<AttentionOperands, "y" | "length" | "softCap"> & {
    readonly softCap?: number | null;
  },
): Tensor {
  const { nHead, nKvHead, headDimK, headDimV, window, softCap = null } = operands;
  const rows = k.batch * k.length;
  if (nKvHead < 1 || nHead % nKvHead !== 0) {
    throw new KernelError(
      "shape",
      `attention: ${nKvHead} key heads do not divide ${nHead} query heads`,
    );
  }
  const held = window ?? 1;
  expectShape("attention", "q", operands.q, rows, nHead * headDimK);
  expectShape("attention", "k", operands.k, rows, nKvHead * headDimK);
  expectShape("attention", "v", operands.v, rows, nKvHead * headDimV);
  expectShape("attention", "keys", operands.keys, k.batch, held * nKvHead * headDimK);
  expectShape("attention", "values", operands.values, k.batch, held * nKvHead * headDimV);
  const y = k.temporary(rows, nHead * headDimV);
  k.record(attentionOp, {
    ...operands,
    softCap,
    length: k.length,
    y,
  } satisfies AttentionOperands & Record<string, unknown>);
  return y;
}
