/**
 * Lightning attention: linear attention with a fixed decay a head. Sources: Qin et al. 2024 (arXiv:2401.04658), [1]; MiniMax
 * 2025 (arXiv:2501.08313), [2]; transformers `modeling_minimax.py`; for GGUF names llama.cpp.
 */
import { activation } from "../../../kernels/ops/activation/activation.ts";
import { gate } from "../../../kernels/ops/gate/gate.ts";
import { linear } from "../../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../../kernels/ops/rms-norm/rms-norm.ts";
import { scaledAdd } from "../../../kernels/ops/scaled-add/scaled-add.ts";
import { ssd } from "../../../kernels/ops/ssd/ssd.ts";
import type { Activation } from "../../../kernels/spec/activations.ts";
import type { Recorder } from "../../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../../kernels/spec/tensor.ts";
import { columns, split } from "../../../kernels/spec/views.ts";
import type { WeightLoader } from "../weight-loader.ts";

export interface LightningShape {
  readonly dModel: number;
  readonly nHead: number;
  readonly headDim: number;
  /** Of q, k and v. */
  readonly act: Activation;
}

export interface LightningWeights {
  readonly qkv: Weight; //   (3 * nHead * headDim, dModel): q, k, v
  readonly decay: Weight; // (1, nHead): minus the slope
  readonly ones: Weight; //  (1, nHead)
  readonly norm: Weight; //  (1, nHead * headDim)
  readonly gate: Weight; //  (nHead * headDim, dModel)
  readonly out: Weight; //   (dModel, nHead * headDim)
}

/** Of the norm behind lightning attention, whatever the model's other norms have. */
const LIGHTNING_EPS = 1e-6;
/** Q of the chunks. The model's own `block_size` changes nothing but rounding. */
const CHUNK_SIZE = 64;

/**
 * Linear attention with a fixed decay: for each head h[t] = e^−slope h[t−1] + v[t] ⊗ k[t]; y[t] = h[t] q[t]. That is Mamba-2's
 * recurrence with dt = 1, A = −slope, x = v, B = k, C = q. [1] §3.1, eq. 5
 */
export function lightningAttention(
  k: Recorder,
  c: LightningShape,
  w: LightningWeights,
  state: Tensor,
  x: Tensor,
): Tensor {
  const { nHead, headDim, act } = c;
  const width = nHead * headDim;
  const qkv = activation(k, linear(k, x, w.qkv), act); // (B * T, 3 * width)
  const [q, keys, v] = split(qkv, [width, width, width]); // (B * T, width) × 3
  const ones = scaledAdd(k, { a: columns(qkv, 0, nHead), aScale: 0, bias: w.ones }); // (B * T, nHead)
  // (B * T, width)
  const y = ssd(k, {
    x: v,
    dtRaw: ones,
    dtBias: null,
    dtSoftplus: false,
    dtMin: 0,
    dtMax: Infinity,
    A: w.decay,
    B: keys,
    C: q,
    D: null,
    z: null,
    state,
    nGroup: nHead,
    chunkSize: CHUNK_SIZE,
  });
  const normed = rmsNorm(k, { x: y, weight: w.norm, eps: LIGHTNING_EPS }); // (B * T, width)
  const gated = gate(k, { a: linear(k, x, w.gate), b: normed, act: "sigmoid" }); // (B * T, width)
  return linear(k, gated, w.out); // (B * T, dModel)
}

/** The state of each head, values by keys. */
export function lightningSlot(prefix: string, { nHead, headDim }: LightningShape): StateSlot {
  return { name: `${prefix}.recurrent`, shape: [nHead, headDim, headDim] };
}

/** ALiBi's slopes, less steep from layer to layer. [1] §4, [2] §2.2.1 */
function slopes(
  nHead: number,
  { layer, nLayer }: { readonly layer: number; readonly nLayer: number },
): Float32Array {
  const factor = 1 - layer / (nLayer - 1 + 1e-5) + 1e-5;
  return Float32Array.from(
    { length: nHead },
    (_, head) => 2 ** ((-8 * (head + 1)) / nHead) * factor,
  );
}

/** What the files call the weights. */
const NAMES = {
  safetensors: {
    slopes: "self_attn.slope_rate",
    qkv: "self_attn.qkv_proj.weight",
    norm: "self_attn.norm.weight",
    gate: "self_attn.output_gate.weight",
    out: "self_attn.out_proj.weight",
  },
  gguf: {
    // They follow from the configuration.
    slopes: null,
    qkv: "attn_qkv.weight",
    norm: "attn_norm_2.weight",
    gate: "attn_gate.weight",
    out: "attn_output.weight",
  },
} as const;

/**
 * @param at the layer's prefix
 * @throws WeightsError `missing`, `mismatch`
 */
export async function loadLightning(
  from: WeightLoader,
  at: string,
  c: LightningShape,
  place: { readonly layer: number; readonly nLayer: number },
): Promise<LightningWeights> {
  const { dModel, nHead, headDim } = c;
  const name = NAMES[from.format];
  const width = nHead * headDim;
  // In the file q, k and v of one head lie together.
  const order = (row: number): number => {
    const part = Math.floor(row / width);
    const head = Math.floor((row % width) / headDim);
    return (head * 3 + part) * headDim + (row % headDim);
  };
  const stored = name.slopes !== null && from.has(at + name.slopes) ? at + name.slopes : null;
  const decays = slopes(nHead, place).map((slope) => -slope);
  return {
    qkv: await from.matrix([{ name: at + name.qkv, order }], 3 * width, dModel),
    decay:
      stored === null
        ? await from.constant("decay", 1, nHead, decays)
        : await from.vector(stored, 1, nHead, (slope) => -slope),
    ones: await from.constant("ones", 1, nHead, new Float32Array(nHead).fill(1)),
    norm: await from.vector(at + name.norm, 1, width),
    gate: await from.matrix(at + name.gate, width, dModel),
    out: await from.matrix(at + name.out, dModel, width),
  };
}
