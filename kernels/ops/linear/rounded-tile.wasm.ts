// Several rows of x rounded for products with all of them at once: the blocks of rounded.wasm.ts, interleaved. A tile is 32 columns
// of as many rows as its lanes (BYTES, WORDS), or half as many (SPLIT):
//
//   [lanes] scales as f32, [lanes] corrections, [lanes] corrections of the second 16 columns, [lanes] f32 −scale · sum, then
//   BYTES    [8 quads][lanes][4 int8]
//   SPLIT    [8 quads][lanes][4 int8], h of all rows before l: to the kernel as many rows of bytes as lanes
//   WORDS    [8 quads][lanes][4 int16]
//
// A correction is what a sum of products starts with: minus the offset of the weights' fields times the sum of x (see offsetShift),
// and, but for WORDS, MAGIC. Where a scale has 16 columns the first is that of the first 16. SPLIT has one for h and one for l.
//
// Rows lie in panels of PANEL, a panel as [blocks of 32 columns][tiles]; rows that are missing in the last tile are zeros. Rows that
// do not fill a tile of six lanes make one of four where that is enough, of SPLIT one or two: then none are missing unless there is
// but one.
import { offsetOf, scaleColumns } from "./bit-fields.wasm";
import { BYTES, MAGIC, roundRow, SPLIT, WORDS, X_HALF_SUM, X_NEGATIVE_SUM, X_SUM, X_VALUES } from "./rounded.wasm";

/** Rows of x that are multiplied with one group of weights before the next: they stay in the second-level cache. Whole tiles. */
@inline export const PANEL: i32 = 132;

/** Lanes of most tiles. */
@inline
export function wideLanes(form: i32): i32 {
  return form == WORDS ? 2 : 6;
}

/** Lanes of those at the end of SPLIT and BYTES. */
@inline export const NARROW: i32 = 4;

@inline
export function tileRows(form: i32, lanes: i32): i32 {
  return form == SPLIT ? lanes >> 1 : lanes;
}

@inline
export function tileBytes(form: i32, lanes: i32): usize {
  return <usize>lanes * (form == WORDS ? 80 : 48);
}

/** Tiles of NARROW lanes for so many rows. */
export function narrowTiles(rows: i32, form: i32): i32 {
  if (form == WORDS) return 0;
  if (form == BYTES) {
    const left = rows % wideLanes(BYTES);
    return left > 0 && left <= NARROW ? 1 : 0;
  }
  if (rows == 1) return 1;
  const rest = rows % 3;
  return rest == 0 ? 0 : 3 - rest;
}

export function wideTiles(rows: i32, form: i32): i32 {
  const each = tileRows(form, wideLanes(form));
  return (rows - narrowTiles(rows, form) * tileRows(form, NARROW) + each - 1) / each;
}

/** Bytes of 32 columns of all rows of a panel. */
export function panelStep(rows: i32, form: i32): usize {
  return <usize>wideTiles(rows, form) * tileBytes(form, wideLanes(form)) + <usize>narrowTiles(rows, form) * tileBytes(form, NARROW);
}

/** Bytes of a whole panel. */
export function panelBytes(cols: i32, form: i32): usize {
  return <usize>(cols >> 5) * panelStep(PANEL, form);
}

/**
 * Rounds all columns of one tile.
 * @param x its first row; the next ones are `stride` bytes apart
 * @param rows that there are, at least one
 * @param to the tile's first block; the next ones are `step` bytes apart
 * @param staging room for a block of rounded.wasm.ts
 */
export function roundTile(
  x: usize, stride: usize, rows: i32, cols: i32, form: i32, lanes: i32, dtype: i32, to: usize, step: usize, staging: usize,
): void {
  const offset = offsetOf(dtype), hasHalves = scaleColumns(dtype) == 16;
  if (rows < tileRows(form, lanes)) {
    for (let col = 0; col < cols; col += 32) memory.fill(to + <usize>(col >> 5) * step, 0, tileBytes(form, lanes));
  }
  for (let row = 0; row < rows; row++) {
    const lane = <usize>row << 2;
    if (form == BYTES && lanes == NARROW) rowNarrowBytes(x, cols, offset, hasHalves, to, lane, step, staging);
    else if (form == BYTES) rowBytes(x, cols, offset, hasHalves, to, lane, step, staging);
    else if (form == WORDS) rowWords(x, cols, offset, hasHalves, to, lane, step, staging);
    else if (lanes == NARROW) rowNarrow(x, cols, offset, hasHalves, to, lane, step, staging);
    else rowSplit(x, cols, offset, hasHalves, to, lane, step, staging);
    x += stride;
  }
}

// A function for each form, as in row-tile.wasm.ts.
function rowBytes(x: usize, cols: i32, offset: i32, hasHalves: bool, to: usize, lane: usize, step: usize, staging: usize): void {
  rowOf(BYTES, 6, x, cols, offset, hasHalves, to, lane, step, staging);
}

function rowNarrowBytes(x: usize, cols: i32, offset: i32, hasHalves: bool, to: usize, lane: usize, step: usize, staging: usize): void {
  rowOf(BYTES, NARROW, x, cols, offset, hasHalves, to, lane, step, staging);
}

function rowSplit(x: usize, cols: i32, offset: i32, hasHalves: bool, to: usize, lane: usize, step: usize, staging: usize): void {
  rowOf(SPLIT, 6, x, cols, offset, hasHalves, to, lane, step, staging);
}

function rowNarrow(x: usize, cols: i32, offset: i32, hasHalves: bool, to: usize, lane: usize, step: usize, staging: usize): void {
  rowOf(SPLIT, NARROW, x, cols, offset, hasHalves, to, lane, step, staging);
}

function rowWords(x: usize, cols: i32, offset: i32, hasHalves: bool, to: usize, lane: usize, step: usize, staging: usize): void {
  rowOf(WORDS, 2, x, cols, offset, hasHalves, to, lane, step, staging);
}

/** A row's blocks, each to its lane of a tile. */
@inline
function rowOf(
  form: i32, lanes: i32, x: usize, cols: i32, offset: i32, hasHalves: bool, to: usize, lane: usize, step: usize, staging: usize,
): void {
  for (; cols > 0; cols -= 32) {
    roundRow(x, 1, form, staging);
    spread(form, <usize>lanes << 2, offset, hasHalves, staging, to, lane);
    x += 128;
    to += step;
  }
}

/** A row's block to its lane of a tile, `lane` bytes from the first; a line of lanes has `line` bytes. */
@inline
function spread(form: i32, line: usize, offset: i32, hasHalves: bool, block: usize, to: usize, lane: usize): void {
  to += lane;
  store<f32>(to, load<f32>(block));
  store<f32>(to + 3 * line, load<f32>(block, X_NEGATIVE_SUM));
  const all = load<i32>(block, X_SUM), first = load<i32>(block, X_HALF_SUM);
  if (form == SPLIT) {
    // h and l apart: each is small enough for MAGIC.
    const low = line >> 1;
    const firstH = sumOfBytes(block + X_VALUES), lastH = sumOfBytes(block + X_VALUES + 16);
    const firstL = first - 256 * firstH, lastL = all - first - 256 * lastH;
    store<i32>(to + line, MAGIC - offset * (hasHalves ? firstH : firstH + lastH));
    store<i32>(to + line + low, MAGIC - offset * (hasHalves ? firstL : firstL + lastL));
    store<i32>(to + 2 * line, MAGIC - offset * lastH);
    store<i32>(to + 2 * line + low, MAGIC - offset * lastL);
    to += 4 * line;
    block += X_VALUES;
    fourQuads(block, to, line);
    fourQuads(block + 16, to + 4 * line, line);
    fourQuads(block + 32, to + low, line);
    fourQuads(block + 48, to + 4 * line + low, line);
    return;
  }
  const base = form == BYTES ? MAGIC : 0;
  store<i32>(to + line, base - offset * (hasHalves ? first : all));
  store<i32>(to + 2 * line, base - offset * (all - first));
  to += 4 * line;
  block += X_VALUES;
  if (form == BYTES) {
    fourQuads(block, to, line);
    fourQuads(block + 16, to + 4 * line, line);
  } else {
    to += lane;
    for (let quad: usize = 0; quad < 8; quad++) store<u64>(to + 2 * line * quad, load<u64>(block + quad * 8));
  }
}

/** The four quads of a vector, a line apart. */
@inline
function fourQuads(from: usize, to: usize, line: usize): void {
  const quads = v128.load(from);
  v128.store32_lane(to, quads, 0);
  v128.store32_lane(to + line, quads, 1);
  v128.store32_lane(to + 2 * line, quads, 2);
  v128.store32_lane(to + 3 * line, quads, 3);
}

/** The sum of 16 int8. */
@inline
function sumOfBytes(at: usize): i32 {
  let sum = i32x4.extadd_pairwise_i16x8_s(i16x8.extadd_pairwise_i8x16_s(v128.load(at)));
  sum = i32x4.add(sum, v128.shuffle<i32>(sum, sum, 2, 3, 0, 1));
  return i32x4.extract_lane(sum, 0) + i32x4.extract_lane(sum, 1);
}
