/**
 * Values → blocks, rounded so that the sum of weighted squared errors of each group is small: large values count more,
 * as they decide the products. Any such choice is a valid file; ggml's own differs in the last steps of its search.
 */
import { packedRowBytes } from "../../../kernels/spec/dtype.ts";
import { f16ToF32 } from "../../../kernels/spec/dequantise.ts";
import { f32ToF16 } from "../f16.ts";

/** Types that `quantise` makes. */
export type QuantisedDType = "q4_0" | "q4_k" | "q5_k" | "q6_k";

/** Packs values; `values.length` must be whole blocks. The caller owns the result. */
export function quantise(dtype: QuantisedDType, values: Float32Array): Uint8Array<ArrayBuffer> {
  const out = new DataView(new ArrayBuffer(packedRowBytes(dtype, values.length)));
  switch (dtype) {
    case "q4_0":
      for (let from = 0, at = 0; from < values.length; from += 32, at += 18)
        packQ4_0(values.subarray(from, from + 32), out, at);
      break;
    case "q4_k":
      for (let from = 0, at = 0; from < values.length; from += 256, at += 144)
        packAffine(values.subarray(from, from + 256), out, at, 4);
      break;
    case "q5_k":
      for (let from = 0, at = 0; from < values.length; from += 256, at += 176)
        packAffine(values.subarray(from, from + 256), out, at, 5);
      break;
    case "q6_k":
      for (let from = 0, at = 0; from < values.length; from += 256, at += 210)
        packQ6K(values.subarray(from, from + 256), out, at);
      break;
  }
  return new Uint8Array(out.buffer);
}

/** The value of largest magnitude becomes −8 exactly: the range of −8 … 7 is used to its end. */
function packQ4_0(x: Float32Array, out: DataView, at: number): void {
  let extreme = 0;
  for (const value of x) if (Math.abs(value) > Math.abs(extreme)) extreme = value;
  const d = extreme / -8;
  out.setUint16(at, f32ToF16(d), true);
  const inverse = d === 0 ? 0 : 1 / d;
  const q = (i: number): number => clamp(Math.round((x[i] ?? 0) * inverse) + 8, 0, 15);
  for (let j = 0; j < 16; j++) out.setUint8(at + 2 + j, q(j) | (q(j + 16) << 4));
}

/** A group of 32 as scale · q − min, q in 0 … levels. */
interface Affine {
  readonly scale: number;
  readonly min: number;
}

/** q4_k and q5_k: eight groups, their scales and minima as 6-bit multiples of two f16. */
function packAffine(x: Float32Array, out: DataView, at: number, bits: 4 | 5): void {
  const levels = 2 ** bits - 1;
  const groups = Array.from({ length: 8 }, (_, g) =>
    fitAffine(x.subarray(g * 32, g * 32 + 32), levels),
  );
  const d = storeF16(out, at, Math.max(...groups.map(({ scale }) => scale)) / 63);
  const dMin = storeF16(out, at + 2, Math.max(...groups.map(({ min }) => min)) / 63);
  const sixBits = (value: number, unit: number): number =>
    unit === 0 ? 0 : clamp(Math.round(value / unit), 0, 63);
  const scales = groups.map(({ scale }) => sixBits(scale, d));
  const mins = groups.map(({ min }) => sixBits(min, dMin));
  packScales(scales, mins, out, at + 4);
  const nibbles = at + (bits === 4 ? 16 : 48);
  for (let g = 0; g < 8; g++) {
    const dl = d * (scales[g] ?? 0);
    const ml = dMin * (mins[g] ?? 0);
    for (let j = 0; j < 32; j++) {
      const q = dl === 0 ? 0 : clamp(Math.round(((x[g * 32 + j] ?? 0) + ml) / dl), 0, levels);
      const byte = nibbles + (g >> 1) * 32 + j;
      out.setUint8(byte, out.getUint8(byte) | ((q & 15) << ((g & 1) * 4)));
      if (bits === 5) out.setUint8(at + 16 + j, out.getUint8(at + 16 + j) | ((q >> 4) << g));
    }
  }
}

/** Eight scales and minima of 6 bits in 12 bytes; see unpacking in kernels/spec/dequantise.ts. */
function packScales(
  scales: readonly number[],
  mins: readonly number[],
  out: DataView,
  at: number,
): void {
  for (let g = 0; g < 4; g++) {
    const scale = scales[g + 4] ?? 0;
    const min = mins[g + 4] ?? 0;
    out.setUint8(at + g, (scales[g] ?? 0) | ((scale >> 4) << 6));
    out.setUint8(at + g + 4, (mins[g] ?? 0) | ((min >> 4) << 6));
    out.setUint8(at + g + 8, (scale & 15) | ((min & 15) << 4));
  }
}

/** How far the first guess of a scale is varied, in levels. */
const AFFINE_STEPS = [-1, -0.8, -0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6, 0.8, 1, 1.5, 2];

/** The best scale and minimum: several roundings of the range, and for each the least squares of what they rounded to. */
function fitAffine(x: Float32Array, levels: number): Affine {
  let low = 0;
  let high = 0;
  let squares = 0;
  for (const value of x) {
    low = Math.min(low, value);
    high = Math.max(high, value);
    squares += value * value;
  }
  if (high === low) return { scale: 0, min: -low };
  const mean = Math.sqrt(squares / x.length);
  let best: Affine = { scale: (high - low) / levels, min: -low };
  let least = Infinity;
  for (const step of AFFINE_STEPS) {
    const inverse = (levels + step) / (high - low);
    const fitted = leastSquares(x, mean, (value) =>
      clamp(Math.round((value - low) * inverse), 0, levels),
    );
    if (fitted === null) continue;
    const candidate = { scale: fitted.slope, min: Math.max(0, -fitted.offset) };
    const error = affineError(x, mean, candidate, levels);
    if (error < least) {
      least = error;
      best = candidate;
    }
  }
  return best;
}

/** Weighted least squares of x ≈ slope · q + offset; null where all q are the same. The offset is never above 0. */
function leastSquares(
  x: Float32Array,
  mean: number,
  round: (value: number) => number,
): { readonly slope: number; readonly offset: number } | null {
  let w = 0;
  let wq = 0;
  let wqq = 0;
  let wx = 0;
  let wqx = 0;
  for (const value of x) {
    const q = round(value);
    const weight = mean + Math.abs(value);
    w += weight;
    wq += weight * q;
    wqq += weight * q * q;
    wx += weight * value;
    wqx += weight * q * value;
  }
  const determinant = w * wqq - wq * wq;
  if (determinant <= 0) return null;
  const slope = (w * wqx - wq * wx) / determinant;
  const offset = (wqq * wx - wq * wqx) / determinant;
  if (offset <= 0) return slope > 0 ? { slope, offset } : null;
  return wqx > 0 ? { slope: wqx / wqq, offset: 0 } : null;
}

function affineError(
  x: Float32Array,
  mean: number,
  { scale, min }: Affine,
  levels: number,
): number {
  let error = 0;
  for (const value of x) {
    const q = clamp(Math.round((value + min) / scale), 0, levels);
    error += (mean + Math.abs(value)) * (scale * q - min - value) ** 2;
  }
  return error;
}

const SYMMETRIC_STEPS = [-0.9, -0.7, -0.5, -0.3, -0.1, 0, 0.1, 0.3, 0.5, 0.7, 0.9];

/** 16 groups of 16, their scales as int8 multiples of one f16. */
function packQ6K(x: Float32Array, out: DataView, at: number): void {
  const groups = Array.from({ length: 16 }, (_, g) =>
    fitSymmetric(x.subarray(g * 16, g * 16 + 16)),
  );
  const extreme = groups.reduce(
    (most, scale) => (Math.abs(scale) > Math.abs(most) ? scale : most),
    0,
  );
  const d = storeF16(out, at + 208, extreme / -128);
  for (let g = 0; g < 16; g++) {
    const scale = d === 0 ? 0 : clamp(Math.round((groups[g] ?? 0) / d), -128, 127);
    out.setInt8(at + 192 + g, scale);
    for (let j = 0; j < 16; j++) {
      const i = g * 16 + j;
      const dl = d * scale;
      const q = dl === 0 ? 32 : clamp(Math.round((x[i] ?? 0) / dl), -32, 31) + 32;
      const half = i >> 7;
      const row = (i >> 5) & 3;
      const low = at + half * 64 + (row & 1) * 32 + (i & 31);
      const high = at + 128 + half * 32 + (i & 31);
      out.setUint8(low, out.getUint8(low) | ((q & 15) << ((row >> 1) * 4)));
      out.setUint8(high, out.getUint8(high) | ((q >> 4) << (row * 2)));
    }
  }
}

/** The best scale of 16 values as scale · q, q in −32 … 31. */
function fitSymmetric(x: Float32Array): number {
  let extreme = 0;
  for (const value of x) if (Math.abs(value) > Math.abs(extreme)) extreme = value;
  if (extreme === 0) return 0;
  let best = extreme / -32;
  let least = Infinity;
  for (const step of SYMMETRIC_STEPS) {
    const inverse = -(32 + step) / extreme;
    let qx = 0;
    let qq = 0;
    for (const value of x) {
      const q = clamp(Math.round(value * inverse), -32, 31);
      const weight = value * value;
      qx += weight * q * value;
      qq += weight * q * q;
    }
    if (qq === 0) continue;
    const scale = qx / qq;
    let error = 0;
    for (const value of x) {
      const q = clamp(Math.round(value / scale), -32, 31);
      error += value * value * (scale * q - value) ** 2;
    }
    if (error < least) {
      least = error;
      best = scale;
    }
  }
  return best;
}

/** Writes the nearest f16 and gives what was written. */
function storeF16(out: DataView, at: number, value: number): number {
  const bits = f32ToF16(value);
  out.setUint16(at, bits, true);
  return f16ToF32(bits);
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}
