// From ggml's blocks to the fields of bit-fields.wasm.ts.
import { weightFlip } from "../../wasm/dot.wasm";
import {
  blockBytes, fieldsAt, fourF16, hasMin, headerBytes, headerColumns, Q4_0, Q4_K, Q5_K, Q6_K, Q8_0, UPPER_BITS, VECTORS,
} from "./bit-fields.wasm";

/** Bytes of a row of ggml's blocks. */
export function storedRowBytes(dtype: i32, cols: i32): usize {
  return <usize>(cols / headerColumns(dtype)) * storedBytes(dtype);
}

function storedBytes(dtype: i32): usize {
  if (dtype == Q8_0) return 34;
  if (dtype == Q4_0) return 18;
  if (dtype == Q4_K) return 144;
  return dtype == Q5_K ? 176 : 210;
}

/** Puts one row of ggml's blocks into lane `lane` of a zeroed group. Returns 1 if a scale is an infinity or NaN, else 0. */
export function packFieldRow(from: usize, group: usize, lane: usize, dtype: i32, cols: i32): i32 {
  let bad = 0;
  const blocks = headerColumns(dtype) >> 5;
  for (let col = 0; col < cols; col += headerColumns(dtype)) {
    const factor = from + (dtype == Q6_K ? 208 : 0);
    if (isBad(factor)) bad = 1;
    if (dtype == Q8_0) store<f32>(group + lane * 4, f32x4.extract_lane(fourF16(factor), 0));
    else store<u16>(group + lane * 2, load<u16>(factor));
    if (hasMin(dtype)) {
      if (isBad(from + 2)) bad = 1;
      store<u16>(group + lane * 2, load<u16>(from, 2), 16);
    }
    group += headerBytes(dtype);
    for (let block = 0; block < blocks; block++) {
      packScales(from, group + lane, dtype, block);
      const at = group + fieldsAt(dtype) + (lane >> 2) * 16 + (lane & 3) * 4;
      const bitsAt = group + UPPER_BITS + (lane & 3) * 4;
      if (dtype == Q8_0) packBytes(from + 2, at);
      else for (let octet = 0; octet < 4; octet++) {
        const values = storedOctet(from, dtype, block, octet);
        packOctet(dtype, values, octet, at);
        if (dtype == Q6_K) packUpperTwo(values, <i32>(lane >> 2), bitsAt + <usize>octet * 16);
      }
      group += blockBytes(dtype);
    }
    from += storedBytes(dtype);
  }
  return bad;
}

/** Whether an f16 is an infinity or NaN. */
@inline
function isBad(at: usize): bool {
  return (load<u16>(at) & 0x7c00) == 0x7c00;
}

/** Scale and minimum, or both scales, of 32 columns of a row, one byte each. */
function packScales(from: usize, to: usize, dtype: i32, block: i32): void {
  if (dtype <= Q4_0) return;
  if (dtype == Q6_K) {
    store<u8>(to, load<u8>(from + 192 + 2 * block));
    store<u8>(to, load<u8>(from + 193 + 2 * block), 8);
    return;
  }
  // 6 bits each: the upper two bits of blocks 4 … 7 lie with the first four.
  const at = from + 4 + block;
  if (block < 4) {
    store<u8>(to, load<u8>(at) & 63);
    store<u8>(to, load<u8>(at, 4) & 63, 8);
  } else {
    store<u8>(to, (load<u8>(at, 4) & 15) | ((load<u8>(at - 4) >> 6) << 4));
    store<u8>(to, (load<u8>(at, 4) >> 4) | ((load<u8>(at) >> 6) << 4), 8);
  }
}

function packBytes(from: usize, to: usize): void {
  const flip: u32 = weightFlip() == 0 ? 0 : 0x80808080;
  for (let j: usize = 0; j < 8; j++) store<u32>(to + j * VECTORS, load<u32>(from + j * 4) ^ flip);
}

/** Columns 8 octet … 8 octet + 7 of a block of 32, a byte each, not negative, from where ggml has them (see dequantise.ts). */
function storedOctet(from: usize, dtype: i32, block: i32, octet: i32): u64 {
  const nibble: u64 = 0x0f0f0f0f0f0f0f0f;
  if (dtype == Q4_0) {
    return (load<u64>(from + 2 + <usize>(octet & 1) * 8) >> ((octet >> 1) * 4)) & nibble;
  }
  if (dtype == Q6_K) {
    const half = <usize>(block >> 2), row = block & 3;
    const low = load<u64>(from + half * 64 + <usize>(row & 1) * 32 + <usize>octet * 8) >> ((row >> 1) * 4);
    const high = load<u64>(from + 128 + half * 32 + <usize>octet * 8) >> (row * 2);
    return (low & nibble) | ((high & 0x0303030303030303) << 4);
  }
  const nibbles = from + (dtype == Q5_K ? 48 : 16) + <usize>(block >> 1) * 32;
  const low = (load<u64>(nibbles + <usize>octet * 8) >> ((block & 1) * 4)) & nibble;
  if (dtype == Q4_K) return low;
  return low | (((load<u64>(from + 16 + <usize>octet * 8) >> block) & 0x0101010101010101) << 4);
}

/** Two quads of a row, 2 octet in the lower half of `values`, into its lane of the vectors. */
function packOctet(dtype: i32, values: u64, octet: i32, to: usize): void {
  const even = <u32>values, odd = <u32>(values >> 32);
  store<u32>(to + <usize>octet * VECTORS, (even & 0x0f0f0f0f) | ((odd & 0x0f0f0f0f) << 4));
  if (dtype == Q5_K) {
    const bits = ((even >> 4) & 0x01010101) | (((odd >> 4) & 0x01010101) << 1);
    store<u32>(to, load<u32>(to, 4 * VECTORS) | (bits << (2 * octet)), 4 * VECTORS);
  }
}

/** Bits 4 and 5 of two quads of a row, among those of rows 0…3 or, `rows` 1, of rows 4…7. */
function packUpperTwo(values: u64, rows: i32, to: usize): void {
  const even = <u32>values, odd = <u32>(values >> 32);
  const bits = ((even >> 4) & 0x03030303) | (((odd >> 4) & 0x03030303) << 2);
  store<u32>(to, load<u32>(to) | (bits << (4 * rows)));
}
