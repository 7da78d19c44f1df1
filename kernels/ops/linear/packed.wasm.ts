// How matrices lie in memory: groups of 8 rows (the last padded with zeros), and inside a group by columns, so that a
// vector holds the same column of neighbouring rows: a product then needs no horizontal sums.
//
//   f32          [column][8 rows]
//   f16, bf16    the same with 2 bytes a value
//   q8_0         blocks of 32 columns, each 8 scales as f32, then [16 pairs of columns][8 rows][2] int8:
//                288 bytes where ggml's eight blocks take 272

export const F32: i32 = 0;
export const F16: i32 = 1;
export const BF16: i32 = 2;
export const Q8_0: i32 = 3;

/** Rows of a group. */
export const GROUP: i32 = 8;
/** Bytes of a q8_0 block of a group. */
export const Q8_GROUP_BYTES: usize = 288;
/** Bytes of its scales. */
export const Q8_SCALES: usize = 32;

export function groupBytes(dtype: i32, cols: i32): usize {
  if (dtype == Q8_0) return <usize>(cols >> 5) * Q8_GROUP_BYTES;
  return <usize>cols << (dtype == F32 ? 5 : 4);
}

/**
 * Rearranges rows as they come (see dtype.ts) into groups. Returns 1 if a value is an f16 infinity or NaN, which no
 * trained weight is and f16's fast conversion does not know; else 0.
 */
export function packRows(from: usize, to: usize, rows: i32, dtype: i32, cols: i32): i32 {
  const size = groupBytes(dtype, cols);
  memory.fill(to, 0, <usize>((rows + GROUP - 1) / GROUP) * size);
  let bad = 0;
  for (let row = 0; row < rows; row++) {
    const group = to + <usize>(row / GROUP) * size;
    const lane = <usize>(row % GROUP);
    if (dtype == Q8_0) {
      for (let block = 0; block < cols >> 5; block++) {
        const target = group + <usize>block * Q8_GROUP_BYTES;
        const scale = load<u16>(from);
        if ((scale & 0x7c00) == 0x7c00) bad = 1;
        store<f32>(target + (lane << 2), f32x4.extract_lane(halves(i32x4.splat(scale)), 0));
        for (let k: usize = 0; k < 32; k++) {
          store<i8>(target + Q8_SCALES + (k >> 1) * 16 + lane * 2 + (k & 1), load<i8>(from + 2 + k));
        }
        from += 34;
      }
    } else if (dtype == F32) {
      for (let k: usize = 0; k < <usize>cols; k++) {
        store<f32>(group + (k << 5) + (lane << 2), load<f32>(from));
        from += 4;
      }
    } else {
      for (let k: usize = 0; k < <usize>cols; k++) {
        const value = load<u16>(from);
        if (dtype == F16 && (value & 0x7c00) == 0x7c00) bad = 1;
        store<u16>(group + (k << 4) + (lane << 1), value);
        from += 2;
      }
    }
  }
  return bad;
}

/** One value, for embedding. */
export function packedValue(weight: usize, dtype: i32, cols: i32, row: i32, col: i32): f32 {
  const group = weight + <usize>(row / GROUP) * groupBytes(dtype, cols);
  const lane = <usize>(row % GROUP);
  if (dtype == Q8_0) {
    const block = group + <usize>(col >> 5) * Q8_GROUP_BYTES;
    const q = load<i8>(block + Q8_SCALES + <usize>((col & 31) >> 1) * 16 + lane * 2 + (col & 1));
    return load<f32>(block + (lane << 2)) * <f32>q;
  }
  if (dtype == F32) return load<f32>(group + (<usize>col << 5) + (lane << 2));
  const bits = <i32>load<u16>(group + (<usize>col << 4) + (lane << 1));
  if (dtype == BF16) return reinterpret<f32>(bits << 16);
  return f32x4.extract_lane(halves(i32x4.splat(bits)), 0);
}

/** Four f16, one in the low half of each lane, as f32; subnormals too, infinities and NaN not. */
// @ts-ignore: decorator
@inline
export function halves(bits: v128): v128 {
  // Exponent and mantissa in f32's places; the product makes up for the biases (127 − 15 = 112).
  const magnitude = i32x4.shl(v128.and(bits, i32x4.splat(0x7fff)), 13);
  const value = f32x4.mul(magnitude, f32x4.splat(reinterpret<f32>(0x77800000)));
  return v128.or(value, i32x4.shl(v128.and(bits, i32x4.splat(0x8000)), 16));
}

/** A group of f16 or bf16 as [column][8] f32. */
export function expandGroup(group: usize, dtype: i32, cols: i32, to: usize): void {
  const zero = i32x4.splat(0);
  for (let k = 0; k < cols; k++) {
    const bits = v128.load(group);
    if (dtype == BF16) {
      v128.store(to, v128.shuffle<i16>(zero, bits, 0, 8, 0, 9, 0, 10, 0, 11));
      v128.store(to, v128.shuffle<i16>(zero, bits, 0, 12, 0, 13, 0, 14, 0, 15), 16);
    } else {
      v128.store(to, halves(i32x4.extend_low_i16x8_u(bits)));
      v128.store(to, halves(i32x4.extend_high_i16x8_u(bits)), 16);
    }
    group += 16;
    to += 32;
  }
}
