// From ggml's blocks to the fields of bit-fields.wasm.ts.
import {
  blockBytes, fieldsAt, hasMin, headerBytes, headerColumns, Q4_0, Q4_K, Q5_K, Q6_K, VECTORS,
} from "./bit-fields.wasm";

/** Bytes of a row of ggml's blocks. */
export function storedRowBytes(dtype: i32, cols: i32): usize {
  return <usize>(cols / headerColumns(dtype)) * storedBytes(dtype);
}

function storedBytes(dtype: i32): usize {
  if (dtype == Q4_0) return 18;
  if (dtype == Q4_K) return 144;
  return dtype == Q5_K ? 176 : 210;
}

/** Puts one row of ggml's blocks into lane `lane` of a zeroed group. Returns 1 if a scale is an infinity or NaN, else 0. */
export function packFieldRow(from: usize, group: usize, lane: usize, dtype: i32, cols: i32): i32 {
  let bad = 0;
  const blocks = headerColumns(dtype) >> 5;
  for (let col = 0; col < cols; col += headerColumns(dtype)) {
    const factor = load<u16>(from + (dtype == Q6_K ? 208 : 0));
    if ((factor & 0x7c00) == 0x7c00) bad = 1;
    store<u16>(group + lane * 2, factor);
    if (hasMin(dtype)) {
      const dMin = load<u16>(from, 2);
      if ((dMin & 0x7c00) == 0x7c00) bad = 1;
      store<u16>(group + lane * 2, dMin, 16);
    }
    group += headerBytes(dtype);
    for (let block = 0; block < blocks; block++) {
      packScales(from, group + lane, dtype, block);
      const at = group + fieldsAt(dtype) + (lane >> 2) * 16 + (lane & 3) * 4;
      const a = storedOctet(from, dtype, block, 0), b = storedOctet(from, dtype, block, 1);
      const c = storedOctet(from, dtype, block, 2), d = storedOctet(from, dtype, block, 3);
      packFields(dtype, a, b, c, d, at);
      packFields(dtype, a >> 8, b >> 8, c >> 8, d >> 8, at + 2);
      group += blockBytes(dtype);
    }
    from += storedBytes(dtype);
  }
  return bad;
}

/** Scale and minimum, or both scales, of 32 columns of a row, one byte each. */
function packScales(from: usize, to: usize, dtype: i32, block: i32): void {
  if (dtype == Q4_0) return;
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

/** The even bytes of four times 8 columns to the 16-bit half at `to` of each vector. */
function packFields(dtype: i32, a: u64, b: u64, c: u64, d: u64, to: usize): void {
  if (dtype == Q5_K) {
    const last = byteOf(d, 3);
    store<u16>(to, fives(byteOf(a, 0), byteOf(a, 1), byteOf(a, 2), last));
    store<u16>(to, fives(byteOf(a, 3), byteOf(b, 0), byteOf(b, 1), last >> 1), VECTORS);
    store<u16>(to, fives(byteOf(b, 2), byteOf(b, 3), byteOf(c, 0), last >> 2), 2 * VECTORS);
    store<u16>(to, fives(byteOf(c, 1), byteOf(c, 2), byteOf(c, 3), last >> 3), 3 * VECTORS);
    store<u16>(to, fives(byteOf(d, 0), byteOf(d, 1), byteOf(d, 2), last >> 4), 4 * VECTORS);
  } else if (dtype == Q6_K) {
    packSixes(a, b, to);
    packSixes(c, d, to + 3 * VECTORS);
  } else {
    store<u16>(to, fours(a));
    store<u16>(to, fours(b), VECTORS);
    store<u16>(to, fours(c), 2 * VECTORS);
    store<u16>(to, fours(d), 3 * VECTORS);
  }
}

@inline
function byteOf(values: u64, pair: u64): u32 {
  return <u32>(values >> (16 * pair)) & 0xff;
}

/** The low four bits of each 16-bit lane, side by side. */
@inline
function fours(values: u64): u16 {
  const lanes = values & 0x000f000f000f000f;
  const pairs = lanes | (lanes >> 12);
  return <u16>((pairs & 0xff) | ((pairs >> 24) & 0xff00));
}

@inline
function fives(a: u32, b: u32, c: u32, last: u32): u16 {
  return <u16>(a | (b << 5) | (c << 10) | ((last & 1) << 15));
}

function packSixes(a: u64, b: u64, to: usize): void {
  const sixth = byteOf(b, 2), seventh = byteOf(b, 3);
  store<u16>(to, <u16>(byteOf(a, 0) | (byteOf(a, 1) << 6) | ((sixth & 15) << 12)));
  store<u16>(to, <u16>(byteOf(a, 2) | (byteOf(a, 3) << 6) | ((sixth >> 4) << 12) | ((seventh >> 4) << 14)), VECTORS);
  store<u16>(to, <u16>(byteOf(b, 0) | (byteOf(b, 1) << 6) | ((seventh & 15) << 12)), 2 * VECTORS);
}
