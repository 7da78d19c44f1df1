// Integer weights times rounded activations (see rounded.wasm.ts).
//
// Where the CPU's dot product of bytes is exact (see wasm/dot.wasm.ts), x of 16 bits is split into two bytes, and two dot products
// make 16 multiply-adds; x of 8 bits needs one. Elsewhere i32x4.dot_i16x8_s makes 8. Fields are unpacked as one row needs them,
// for more rows once into bytes.
import { multipliesBytes } from "../../wasm/dot.wasm";
import { grainOf, scratch, take } from "../../wasm/team.wasm";
import { Q8_0 } from "./bit-fields.wasm";
import { expandTile } from "./expand-fields.wasm";
import { oneGroup, twoGroups } from "./one-row.wasm";
import { Linear } from "./operands.wasm";
import { GROUP, groupBytes } from "./packed.wasm";
import { BYTES, roundedForm, roundedRowBytes, roundRow, WORDS } from "./rounded.wasm";
import { rowsOfBytes, rowsOfSplit, rowsOfWords } from "./row-tile.wasm";

/** Rows of x that are multiplied with one group of weights before the next: they stay in the second-level cache. */
@inline const PANEL: i32 = 128;
/** Rows that are multiplied at once; fewer are multiplied one by one, with fields as they lie. */
@inline const ROWS: i32 = 4;

export function linearRounded(op: Linear): void {
  let rounded = op.quantized;
  let tile = scratch();
  if (rounded == 0) {
    rounded = tile;
    roundRows(op, 0, op.rows, rounded);
    tile += <usize>op.rows * roundedRowBytes(op.cols, roundedForm(op.rows));
  }
  if (op.rows < ROWS) fewRows(op, rounded);
  else manyRows(op, rounded, tile);
}

/** Rounds the rows of x for a following `linear`; an instruction of its own where x is worth sharing. */
export function quantize(instruction: usize): void {
  const op = changetype<Linear>(instruction);
  const grain = grainOf(op.rows, 4);
  for (let first = take(grain); first < op.rows; first = take(grain)) {
    roundRows(op, first, min(first + grain, op.rows), op.quantized);
  }
}

function roundRows(op: Linear, from: i32, end: i32, to: usize): void {
  const form = roundedForm(op.rows);
  const rowBytes = roundedRowBytes(op.cols, form);
  for (let row = from; row < end; row++) {
    roundRow(op.x + (<usize>row * op.xStride << 2), op.cols >> 5, form, to + <usize>row * rowBytes);
  }
}

/** A piece of work is two groups of weights, with each row. */
function fewRows(op: Linear, x: usize): void {
  const groups = (op.outputs + GROUP - 1) / GROUP;
  const pairs = (groups + 1) >> 1;
  const grain = grainOf(pairs, 8);
  const rowBytes = roundedRowBytes(op.cols, roundedForm(op.rows));
  for (let first = take(grain); first < pairs; first = take(grain)) {
    const end = min(first + grain, pairs);
    for (let pair = first; pair < end; pair++) {
      for (let row = 0; row < op.rows; row++) {
        oneRow(op, 2 * pair, min(2 * pair + 1, groups - 1), x + <usize>row * rowBytes, row);
      }
    }
  }
}

/** One row times one or two groups of weights. */
function oneRow(op: Linear, group: i32, other: i32, x: usize, row: i32): void {
  const size = groupBytes(op.dtype, op.cols);
  const first = op.weight + <usize>group * size, second = op.weight + <usize>other * size;
  if (multipliesBytes()) {
    twoGroups(op, first, second, x, row, group * GROUP, other * GROUP);
  } else {
    oneGroup(op, first, x, row, group * GROUP);
    if (other != group) oneGroup(op, second, x, row, other * GROUP);
  }
}

/** A piece of work is a group of weights, with the rows of a panel. */
function manyRows(op: Linear, x: usize, tile: usize): void {
  const groups = (op.outputs + GROUP - 1) / GROUP;
  const panels = (op.rows + PANEL - 1) / PANEL;
  const total = groups * panels;
  const grain = grainOf(total, 8);
  const size = groupBytes(op.dtype, op.cols);
  const form = roundedForm(op.rows);
  const rowBytes = roundedRowBytes(op.cols, form);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const group = item % groups;
      let weight = op.weight + <usize>group * size;
      // Of q8_0 a group is a tile as it lies.
      if (op.dtype != Q8_0) {
        expandTile(weight, op.dtype, op.cols, tile);
        weight = tile;
      }
      const from = (item / groups) * PANEL;
      const to = min(from + PANEL, op.rows);
      for (let next = from; next < to; next += ROWS) {
        // The last ones once more where fewer are left.
        const row = min(next, op.rows - ROWS);
        const at = x + <usize>row * rowBytes;
        if (form == BYTES) rowsOfBytes(op, weight, at, rowBytes, row, next - row, group * GROUP);
        else if (form == WORDS) rowsOfWords(op, weight, at, rowBytes, row, next - row, group * GROUP);
        else rowsOfSplit(op, weight, at, rowBytes, row, next - row, group * GROUP);
      }
    }
  }
}
