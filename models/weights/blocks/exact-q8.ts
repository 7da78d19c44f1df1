/**
 * Block types whose values are small whole numbers times one scale: they become q8_0 without any rounding, which going
 * through f32 and back would not give (q8_0 made of values has the step max |x| / 127, rounded to an f16).
 */
import { f16ToF32 } from "../../../kernels/spec/dequantise.ts";
import { Q8_0_BLOCK, Q8_0_BLOCK_BYTES } from "../../../kernels/spec/dtype.ts";
import { f32ToF16 } from "../f16.ts";
import { BLOCK_TYPES, type BlockDType } from "./block-types.ts";

/** Where a block keeps its scale, and the bytes with which the scale is 1. */
const SCALES = {
  q5_0: { at: 0, one: [0x00, 0x3c] },
  iq4_nl: { at: 0, one: [0x00, 0x3c] },
  tq1_0: { at: 52, one: [0x00, 0x3c] },
  tq2_0: { at: 64, one: [0x00, 0x3c] },
  // E8M0 of half the scale: 2^(e − 128), over twice the values of E2M1, which are whole.
  mxfp4: { at: 0, one: [128] },
} as const satisfies Partial<
  Record<BlockDType, { readonly at: number; readonly one: readonly number[] }>
>;

/** Types whose every value that an f16 scale can bear becomes q8_0 as it is. */
export type WholeDType = keyof typeof SCALES;

/** What becomes of a tensor's values where they are packed as another type. */
export type Fidelity =
  | "exact"
  /** Exact, but for blocks of mxfp4 whose scale no f16 comes near. */
  | "exact-in-f16-range"
  | "rounded";

/** What becomes of values of type `from` as `to`; f32 bears what any of them stands for. */
export function fidelity(from: string, to: string): Fidelity {
  if (to === "f32") return "exact";
  if (to !== "q8_0" || !isWholeDType(from)) return "rounded";
  return from === "mxfp4" ? "exact-in-f16-range" : "exact";
}

/** Whether blocks of this type become q8_0 without rounding. */
export function isWholeDType(dtype: string): dtype is WholeDType {
  return Object.hasOwn(SCALES, dtype);
}

/**
 * Packs whole blocks as q8_0 with the same values, bit for bit.
 * @param packed stays as it is
 * @param count values in it
 * @param round packs 32 values where no f16 scale fits: mxfp4 of scales far from 1, below 2^-24 or above 2^15
 */
export function repackExact(
  dtype: WholeDType,
  packed: Uint8Array,
  count: number,
  round: (values: Float32Array) => Uint8Array,
): Uint8Array {
  const { values, bytes, unpack } = BLOCK_TYPES[dtype];
  const { at: scaleAt, one } = SCALES[dtype];
  const block = new Uint8Array(bytes);
  const view = new DataView(block.buffer);
  const whole = new Float32Array(values);
  const out = new Uint8Array((count / Q8_0_BLOCK) * Q8_0_BLOCK_BYTES);
  let to = 0;
  for (let from = 0; from * values < count; from++) {
    block.set(packed.subarray(from * bytes, (from + 1) * bytes));
    const scale = scaleOf(dtype, view, scaleAt);
    block.set(one, scaleAt);
    // With a scale of 1 the values are the whole numbers themselves.
    unpack(view, 0, whole, 0);
    for (let first = 0; first < values; first += Q8_0_BLOCK) {
      const q = whole.subarray(first, first + Q8_0_BLOCK);
      const fitting = fit(scale, q);
      if (fitting === null) out.set(round(q.map((value) => value * scale.value)), to);
      else {
        out[to] = fitting.bits & 0xff;
        out[to + 1] = fitting.bits >>> 8;
        q.forEach((value, j) => (out[to + 2 + j] = value * fitting.factor));
      }
      to += Q8_0_BLOCK_BYTES;
    }
  }
  return out;
}

interface Scale {
  readonly value: number;
  /** As an f16; null where it is none. */
  readonly bits: number | null;
}

function scaleOf(dtype: WholeDType, block: DataView, at: number): Scale {
  if (dtype !== "mxfp4") {
    const bits = block.getUint16(at, true);
    return { value: f16ToF32(bits), bits };
  }
  const value = 2 ** (block.getUint8(at) - 128);
  const bits = f32ToF16(value);
  return { value, bits: f16ToF32(bits) === value ? bits : null };
}

/** The f16 scale, and the power of two by which the numbers grow or shrink for it; null where they then are no i8. */
function fit(
  { value, bits }: Scale,
  q: Float32Array,
): { readonly bits: number; readonly factor: number } | null {
  if (bits !== null) return { bits, factor: 1 };
  const nearest = Math.min(Math.max(value, 2 ** -24), 2 ** 15);
  const factor = value / nearest;
  const fits = q.every((one) => Number.isInteger(one * factor) && Math.abs(one * factor) <= 127);
  return fits ? { bits: f32ToF16(nearest), factor } : null;
}
