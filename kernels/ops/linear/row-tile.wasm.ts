// Several rows of x, rounded as tiles (see rounded-tile.wasm.ts), times a group of weights.
//
// The weights come a block at a time, a byte a field (see expandTile), and meet all tiles before the next block does: they are
// read once, and unpacked once. The sums of each row so far lie in memory, 8 f32 a row.
import { dot } from "../../wasm/dot.wasm";
import { madd } from "../../wasm/math.wasm";
import { hasMin, Q4_0, Q8_0 } from "./bit-fields.wasm";
import { expandTile } from "./expand-fields.wasm";
import { paired } from "./one-row.wasm";
import { groupBytes } from "./packed.wasm";
import { BYTES, joinedMagic, SPLIT, withoutMagic, WORDS } from "./rounded.wasm";
import { NARROW, narrowTiles, panelStep, tileBytes, tileRows, wideLanes, wideTiles } from "./rounded-tile.wasm";

/** Bytes of the sums of a row. */
@inline export const SUM_BYTES: usize = 32;

/** Columns of a group that are unpacked at once. */
@inline const UNPACKED: i32 = 256;

// What a block of weights has: one scale a row; also a minimum; two scales, each of 16 columns.
@inline const PLAIN: i32 = 0;
@inline const MIN: i32 = 1;
@inline const HALVES: i32 = 2;

/**
 * The sums of a group of weights times a panel of x: [row][8 outputs], into `sums`, which has room for whole tiles of rows.
 * @param unpacked room for UNPACKED columns of the group as expandTile makes them; not used for q8_0
 */
export function multiplyPanel(
  group: usize, dtype: i32, cols: i32, x: usize, rows: i32, form: i32, sums: usize, unpacked: usize,
): void {
  store<i32>(sums, fetch(group, groupBytes(dtype, cols)));
  const wide = wideTiles(rows, form), wideRows = min(rows, wide * tileRows(form, wideLanes(form)));
  const narrowRows = narrowTiles(rows, form) * tileRows(form, NARROW);
  memory.fill(sums, 0, <usize>(wide * tileRows(form, wideLanes(form)) + narrowRows) * SUM_BYTES);
  const step = panelStep(rows, form), narrow = <usize>wide * tileBytes(form, wideLanes(form));
  const narrowSums = sums + <usize>wideRows * SUM_BYTES;
  // Of q8_0 a group is one of bytes as it lies.
  const most = dtype == Q8_0 ? cols : UNPACKED;
  for (let col = 0; col < cols; col += most) {
    const count = min(most, cols - col);
    if (dtype != Q8_0) expandTile(group, dtype, count, unpacked);
    const blocks = dtype == Q8_0 ? group : unpacked;
    if (narrow != 0) multiplyWide(dtype, form, blocks, count >> 5, x, x + narrow, step, sums);
    if (narrow != step) multiplyNarrow(dtype, form, blocks, count >> 5, x + narrow, x + step, step, narrowSums);
    x += <usize>(count >> 5) * step;
    group += groupBytes(dtype, count);
  }
}

/**
 * Reads a word of every cache line, all at once: the CPU waits for as many lines as it can together, while a kernel that comes to
 * them one after the other waits for each. Returns what it read, so that it is read.
 */
function fetch(from: usize, bytes: usize): i32 {
  let any = 0;
  for (const end = from + bytes; from < end; from += 64) any |= load<i32>(from);
  return any;
}

function multiplyWide(dtype: i32, form: i32, block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize): void {
  if (dtype <= Q4_0) {
    if (form == BYTES) plainBytes(block, blocks, x, end, step, sums);
    else if (form == SPLIT) plainSplit(block, blocks, x, end, step, sums);
    else plainWords(block, blocks, x, end, step, sums);
  } else if (hasMin(dtype)) {
    if (form == BYTES) minBytes(block, blocks, x, end, step, sums);
    else if (form == SPLIT) minSplit(block, blocks, x, end, step, sums);
    else minWords(block, blocks, x, end, step, sums);
  } else {
    if (form == BYTES) halvesBytes(block, blocks, x, end, step, sums);
    else if (form == SPLIT) halvesSplit(block, blocks, x, end, step, sums);
    else halvesWords(block, blocks, x, end, step, sums);
  }
}

function multiplyNarrow(
  dtype: i32, form: i32, block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize,
): void {
  if (dtype <= Q4_0) {
    if (form == BYTES) plainNarrowBytes(block, blocks, x, end, step, sums);
    else plainNarrow(block, blocks, x, end, step, sums);
  } else if (hasMin(dtype)) {
    if (form == BYTES) minNarrowBytes(block, blocks, x, end, step, sums);
    else minNarrow(block, blocks, x, end, step, sums);
  } else {
    if (form == BYTES) halvesNarrowBytes(block, blocks, x, end, step, sums);
    else halvesNarrow(block, blocks, x, end, step, sums);
  }
}

// A function for each kind and form, exported by the module so that it stays one: where the optimiser has them in one function, it
// joins the cases again and looks at the kind in the loops.
export function plainBytes(block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize): void {
  multiplyOf(PLAIN, BYTES, 6, block, blocks, x, end, step, sums);
}

export function plainSplit(block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize): void {
  multiplyOf(PLAIN, SPLIT, 6, block, blocks, x, end, step, sums);
}

export function plainNarrow(block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize): void {
  multiplyOf(PLAIN, SPLIT, NARROW, block, blocks, x, end, step, sums);
}

export function plainNarrowBytes(block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize): void {
  multiplyOf(PLAIN, BYTES, NARROW, block, blocks, x, end, step, sums);
}

export function plainWords(block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize): void {
  wordsOf(PLAIN, block, blocks, x, end, step, sums);
}

export function minBytes(block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize): void {
  multiplyOf(MIN, BYTES, 6, block, blocks, x, end, step, sums);
}

export function minSplit(block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize): void {
  multiplyOf(MIN, SPLIT, 6, block, blocks, x, end, step, sums);
}

export function minNarrow(block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize): void {
  multiplyOf(MIN, SPLIT, NARROW, block, blocks, x, end, step, sums);
}

export function minNarrowBytes(block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize): void {
  multiplyOf(MIN, BYTES, NARROW, block, blocks, x, end, step, sums);
}

export function minWords(block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize): void {
  wordsOf(MIN, block, blocks, x, end, step, sums);
}

export function halvesBytes(block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize): void {
  multiplyOf(HALVES, BYTES, 6, block, blocks, x, end, step, sums);
}

export function halvesSplit(block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize): void {
  multiplyOf(HALVES, SPLIT, 6, block, blocks, x, end, step, sums);
}

export function halvesNarrow(block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize): void {
  multiplyOf(HALVES, SPLIT, NARROW, block, blocks, x, end, step, sums);
}

export function halvesNarrowBytes(block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize): void {
  multiplyOf(HALVES, BYTES, NARROW, block, blocks, x, end, step, sums);
}

export function halvesWords(block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize): void {
  wordsOf(HALVES, block, blocks, x, end, step, sums);
}

/** `blocks` of 32 columns of 8 rows of weights times the tiles from x to `end`, the next block's `step` bytes further. */
@inline
function multiplyOf(
  kind: i32, form: i32, lanes: i32, block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize,
): void {
  for (; blocks > 0; blocks--) {
    blockOf(kind, form, lanes, block, x, end, sums);
    block += kind == PLAIN ? 288 : 320;
    x += step;
    end += step;
  }
}

/**
 * One of them. Six rows of bytes of x: twelve sums, as many as hide the five cycles of a dot product; two vectors of weights and one
 * of x are what is left of the registers. One quad a turn: of more V8 loads all before it multiplies, and keeps it in memory.
 */
@inline
function blockOf(kind: i32, form: i32, lanes: i32, block: usize, x: usize, end: usize, sums: usize): void {
  const line = <usize>lanes << 2;
  for (; x < end; x += tileBytes(form, lanes)) {
    let p = x + 4 * line;
    let w = block + (kind == MIN ? 64 : 32);
    for (let half = 0; half < (kind == HALVES ? 2 : 1); half++) {
      const start = x + (half == 0 ? line : 2 * line);
      const scales = kind == HALVES ? w - 32 : block;
      let a0 = v128.load32_splat(start), b0 = a0;
      let a1 = v128.load32_splat(start, 4), b1 = a1;
      let a2 = v128.load32_splat(start, 8), b2 = a2;
      let a3 = v128.load32_splat(start, 12), b3 = a3;
      let a4 = lanes > 4 ? v128.load32_splat(start, 16) : i32x4.splat(0), b4 = a4;
      let a5 = lanes > 4 ? v128.load32_splat(start, 20) : i32x4.splat(0), b5 = a5;
      for (const last = w + (kind == HALVES ? 128 : 256); w < last; w += 32) {
        const w0 = v128.load(w), w1 = v128.load(w, 16);
        let u = v128.load32_splat(p);
        a0 = dot(u, w0, a0);
        b0 = dot(u, w1, b0);
        u = v128.load32_splat(p, 4);
        a1 = dot(u, w0, a1);
        b1 = dot(u, w1, b1);
        u = v128.load32_splat(p, 8);
        a2 = dot(u, w0, a2);
        b2 = dot(u, w1, b2);
        u = v128.load32_splat(p, 12);
        a3 = dot(u, w0, a3);
        b3 = dot(u, w1, b3);
        if (lanes > 4) {
          u = v128.load32_splat(p, 16);
          a4 = dot(u, w0, a4);
          b4 = dot(u, w1, b4);
          u = v128.load32_splat(p, 20);
          a5 = dot(u, w0, a5);
          b5 = dot(u, w1, b5);
        }
        p += line;
      }
      const c = v128.load(scales), d = v128.load(scales, 16);
      if (form == BYTES) {
        addSums(x, sums, c, d, withoutMagic(a0), withoutMagic(b0));
        addSums(x + 4, sums + 32, c, d, withoutMagic(a1), withoutMagic(b1));
        addSums(x + 8, sums + 64, c, d, withoutMagic(a2), withoutMagic(b2));
        addSums(x + 12, sums + 96, c, d, withoutMagic(a3), withoutMagic(b3));
        if (lanes > 4) {
          addSums(x + 16, sums + 128, c, d, withoutMagic(a4), withoutMagic(b4));
          addSums(x + 20, sums + 160, c, d, withoutMagic(a5), withoutMagic(b5));
        }
      } else if (lanes > 4) {
        addSums(x, sums, c, d, joinedMagic(a0, a3), joinedMagic(b0, b3));
        addSums(x + 4, sums + 32, c, d, joinedMagic(a1, a4), joinedMagic(b1, b4));
        addSums(x + 8, sums + 64, c, d, joinedMagic(a2, a5), joinedMagic(b2, b5));
      } else {
        addSums(x, sums, c, d, joinedMagic(a0, a2), joinedMagic(b0, b2));
        addSums(x + 4, sums + 32, c, d, joinedMagic(a1, a3), joinedMagic(b1, b3));
      }
      w += 32;
    }
    if (kind == MIN) addMins(block, x + 3 * line, tileRows(form, lanes), sums);
    sums += <usize>tileRows(form, lanes) * SUM_BYTES;
  }
}

/** Adds a block's sums of a row, times the scales of weights and of x, to the row's sums. */
@inline
function addSums(x: usize, sums: usize, c: v128, d: v128, low: v128, high: v128): void {
  const s = v128.load32_splat(x);
  v128.store(sums, madd(low, f32x4.mul(c, s), v128.load(sums)));
  v128.store(sums, madd(high, f32x4.mul(d, s), v128.load(sums, 16)), 16);
}

/** Adds the minima of 8 rows of weights, each times the sums of the tile's rows of x. */
@inline
function addMins(block: usize, negativeSums: usize, rows: i32, sums: usize): void {
  const c = v128.load(block, 32), d = v128.load(block, 48);
  for (let row = 0; row < rows; row++) {
    const s = v128.load32_splat(negativeSums);
    v128.store(sums, madd(c, s, v128.load(sums)));
    v128.store(sums, madd(d, s, v128.load(sums, 16)), 16);
    negativeSums += 4;
    sums += SUM_BYTES;
  }
}

/** The same where x is WORDS: two rows a tile, as sums of pairs of columns need twice the registers. */
@inline
function wordsOf(kind: i32, block: usize, blocks: i32, x: usize, end: usize, step: usize, sums: usize): void {
  for (; blocks > 0; blocks--) {
    wordBlockOf(kind, block, x, end, sums);
    block += kind == PLAIN ? 288 : 320;
    x += step;
    end += step;
  }
}

@inline
function wordBlockOf(kind: i32, block: usize, x: usize, end: usize, sums: usize): void {
  const zero = i32x4.splat(0);
  for (; x < end; x += tileBytes(WORDS, 2)) {
    let w = block + (kind == MIN ? 64 : 32);
    let p = x + 32;
    for (let half = 0; half < (kind == HALVES ? 2 : 1); half++) {
      const scales = kind == HALVES ? w - 32 : block;
      // A lane is two columns of a row: a and b rows 0 and 1, 2 and 3, c and d the others.
      let a0 = zero, a1 = zero, b0 = zero, b1 = zero, c0 = zero, c1 = zero, d0 = zero, d1 = zero;
      for (const last = w + (kind == HALVES ? 128 : 256); w < last; w += 32) {
        const u = v128.load64_splat(p), v = v128.load64_splat(p, 8);
        let q = v128.load8x8_s(w);
        a0 = i32x4.add(a0, i32x4.dot_i16x8_s(q, u));
        a1 = i32x4.add(a1, i32x4.dot_i16x8_s(q, v));
        q = v128.load8x8_s(w, 8);
        b0 = i32x4.add(b0, i32x4.dot_i16x8_s(q, u));
        b1 = i32x4.add(b1, i32x4.dot_i16x8_s(q, v));
        q = v128.load8x8_s(w, 16);
        c0 = i32x4.add(c0, i32x4.dot_i16x8_s(q, u));
        c1 = i32x4.add(c1, i32x4.dot_i16x8_s(q, v));
        q = v128.load8x8_s(w, 24);
        d0 = i32x4.add(d0, i32x4.dot_i16x8_s(q, u));
        d1 = i32x4.add(d1, i32x4.dot_i16x8_s(q, v));
        p += 16;
      }
      w += 32;
      const f = v128.load(scales), g = v128.load(scales, 16);
      const corrections = x + (half == 0 ? 8 : 16);
      let s = v128.load32_splat(x), c = v128.load32_splat(corrections);
      v128.store(sums, madd(paired(a0, b0, c), f32x4.mul(f, s), v128.load(sums)));
      v128.store(sums, madd(paired(c0, d0, c), f32x4.mul(g, s), v128.load(sums, 16)), 16);
      s = v128.load32_splat(x, 4);
      c = v128.load32_splat(corrections, 4);
      v128.store(sums, madd(paired(a1, b1, c), f32x4.mul(f, s), v128.load(sums, 32)), 32);
      v128.store(sums, madd(paired(c1, d1, c), f32x4.mul(g, s), v128.load(sums, 48)), 48);
    }
    if (kind == MIN) addMins(block, x + 24, 2, sums);
    sums += 2 * SUM_BYTES;
  }
}
