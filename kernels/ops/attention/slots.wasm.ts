// Slots that grow, as backends/wasm/growing-slot.ts lays them out: a table of (B) lists of pages (head, token, headDim); and f16.
import { loadSome } from "../../wasm/slices.wasm";
import { highF16, lowF16 } from "../linear/packed.wasm";

/** Tokens of a page. */
export const PAGE_TOKENS: i32 = 64;

/** Where a token's head lies, of `headBytes`; the next tokens of its page follow. */
@inline
export function headInPages(table: usize, sequence: i32, token: i32, head: i32, headBytes: usize): usize {
  const list = <usize>load<u32>(table + (<usize>sequence << 2));
  const page = <usize>load<u32>(list + (<usize>(token / PAGE_TOKENS) << 2));
  return page + <usize>(head * PAGE_TOKENS + token % PAGE_TOKENS) * headBytes;
}

/** `rows` rows of `cols` f16 or f32, as f32 rows of `padded` ≥ cols values, a multiple of 4, with zeros behind. */
export function expandRows(from: usize, fromRow: usize, half: bool, rows: i32, cols: i32, padded: i32, to: usize): void {
  const toRow = <usize>padded << 2;
  for (let row = 0; row < rows; row++) {
    if (half) expandHalves(from, cols, to);
    else copyFloats(from, cols, to);
    for (let i = cols; i < padded; i++) store<f32>(to + (<usize>i << 2), 0);
    from += fromRow;
    to += toRow;
  }
}

/** For a head's values, of which there are too few for a call of memory.copy. */
function copyFloats(from: usize, count: i32, to: usize): void {
  let i = 0;
  for (; i + 4 <= count; i += 4) v128.store(to + (<usize>i << 2), v128.load(from + (<usize>i << 2)));
  for (; i < count; i++) store<f32>(to + (<usize>i << 2), load<f32>(from + (<usize>i << 2)));
}

function expandHalves(from: usize, count: i32, to: usize): void {
  const exponent = i16x8.splat(0x7c00);
  let special = i16x8.splat(0);
  let i = 0;
  for (; i + 8 <= count; i += 8) {
    const halves = v128.load(from + (<usize>i << 1)), out = to + (<usize>i << 2);
    special = v128.or(special, i16x8.eq(v128.and(halves, exponent), exponent));
    v128.store(out, lowF16(halves));
    v128.store(out, highF16(halves), 16);
  }
  // The fast conversion knows neither infinities nor NaN.
  if (v128.any_true(special)) i = 0;
  for (; i < count; i++) store<f32>(to + (<usize>i << 2), valueOfHalf(load<u16>(from + (<usize>i << 1))));
}

function valueOfHalf(bits: u32): f32 {
  if ((bits & 0x7c00) == 0x7c00) return reinterpret<f32>((bits & 0x8000) << 16 | 0x7f800000 | (bits & 0x3ff) << 13);
  return f32x4.extract_lane(lowF16(i16x8.splat(<i16>bits)), 0);
}

/** Rounds `count` f32 to f16, ties to even, beyond 65504 to infinity. */
export function storeHalves(from: usize, count: i32, to: usize): void {
  let i = 0;
  for (; i + 4 <= count; i += 4) v128.store64_lane(to + (<usize>i << 1), toHalves(v128.load(from + (<usize>i << 2))), 0);
  if (i == count) return;
  const last = toHalves(loadSome(from + (<usize>i << 2), count - i));
  to += <usize>i << 1;
  store<u16>(to, i16x8.extract_lane_u(last, 0));
  if (count - i > 1) store<u16>(to, i16x8.extract_lane_u(last, 1), 2);
  if (count - i > 2) store<u16>(to, i16x8.extract_lane_u(last, 2), 4);
}

/**
 * Lanes 0…3 of 16 bits. The rest of the mantissa is rounded by adding just less than half of the last place (and the
 * last bit itself, for ties); subnormals are aligned by adding 0.5, whose last place is theirs.
 */
@inline
function toHalves(values: v128): v128 {
  const size = v128.and(values, i32x4.splat(0x7fffffff));
  const odd = v128.and(i32x4.shr_u(size, 13), i32x4.splat(1));
  const normal = i32x4.shr_u(i32x4.add(i32x4.add(size, i32x4.splat(<i32>0xc8000fff)), odd), 13);
  const subnormal = i32x4.sub(f32x4.add(size, f32x4.splat(0.5)), i32x4.splat(0x3f000000));
  let half = v128.bitselect(subnormal, normal, i32x4.lt_s(size, i32x4.splat(0x38800000)));
  half = v128.bitselect(i32x4.splat(0x7c00), half, i32x4.ge_s(size, i32x4.splat(0x477ff000)));
  half = v128.bitselect(i32x4.splat(0x7e00), half, i32x4.gt_s(size, i32x4.splat(0x7f800000)));
  half = v128.or(half, i32x4.shr_u(v128.and(values, i32x4.splat(<i32>0x80000000)), 16));
  return i16x8.narrow_i32x4_u(half, half);
}
