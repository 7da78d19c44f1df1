// Several rows of x rounded for products with all of them at once: the blocks of rounded.wasm.ts, interleaved. A tile is 32 columns
// of as many rows as its lanes (BYTES, WORDS), or half as many (SPLIT):
//
//   [lanes] scales as f32, [lanes] corrections, [lanes] corrections of the second 16 columns, [lanes] f32 −scale · sum, then
//   BYTES    [8 quads][lanes][4 int8]
//   SPLIT    [8 quads][lanes][4 int8], h of all rows before l: to the kernel as many rows of bytes as lanes
//   WORDS    [8 quads][lanes][4 int16]
//
// A correction is what a sum of products starts with: minus the offset of the weights' fields times the sum of x (see offsetShift).
// Where a scale has 16 columns the first is that of the first 16. SPLIT has them in the lanes of l.
//
// Rows lie in panels of PANEL, a panel as [blocks of 32 columns][tiles]; rows that are missing in the last tile are zeros. Of SPLIT
// none are missing unless there is but one: rows that do not fill a tile of six lanes make one or two of four.
import { offsetOf, scaleColumns } from "./bit-fields.wasm";
import { blockBytesOf, BYTES, roundRow, SPLIT, WORDS, X_HALF_SUM, X_NEGATIVE_SUM, X_SUM, X_VALUES } from "./rounded.wasm";

/** Rows of x that are multiplied with one group of weights before the next: they stay in the second-level cache. Whole tiles. */
@inline export const PANEL: i32 = 132;

/** Lanes of most tiles. */
@inline
export function wideLanes(form: i32): i32 {
  return form == WORDS ? 2 : 6;
}

/** Lanes of those at the end of SPLIT. */
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
  if (form != SPLIT) return 0;
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
  for (let col = 0; col < cols; col += 32) {
    if (rows < tileRows(form, lanes) || form == SPLIT) memory.fill(to, 0, tileBytes(form, lanes));
    for (let row = 0; row < rows; row++) {
      roundRow(x + <usize>row * stride, 1, form, staging);
      spread(form, <usize>lanes << 2, dtype, staging, to, <usize>row << 2);
    }
    x += 128;
    to += step;
  }
}

/** A row's block to its lane of a tile, `lane` bytes from the first; a line of lanes has `line` bytes. */
function spread(form: i32, line: usize, dtype: i32, block: usize, to: usize, lane: usize): void {
  to += lane;
  store<f32>(to, load<f32>(block));
  store<f32>(to + 3 * line, load<f32>(block, X_NEGATIVE_SUM));
  const all = load<i32>(block, X_SUM), first = load<i32>(block, X_HALF_SUM);
  // From a row's lane of h to that of l.
  const low = form == SPLIT ? line >> 1 : 0;
  store<i32>(to + line + low, -offsetOf(dtype) * (scaleColumns(dtype) == 16 ? first : all));
  store<i32>(to + 2 * line + low, -offsetOf(dtype) * (all - first));
  to += 4 * line;
  block += X_VALUES;
  if (form == WORDS) {
    to += lane;
    for (let quad: usize = 0; quad < 8; quad++) store<u64>(to + 2 * line * quad, load<u64>(block + quad * 8));
    return;
  }
  for (let quad: usize = 0; quad < 8; quad++) {
    store<u32>(to, load<u32>(block + quad * 4));
    if (form == SPLIT) store<u32>(to + low, load<u32>(block + quad * 4, 32));
    to += line;
  }
}
