// Integer weights times rounded activations (see rounded.wasm.ts).
//
// Where the CPU's dot product of bytes is exact (see wasm/dot.wasm.ts), x of 16 bits is split into two bytes, and two dot products
// make 16 multiply-adds; x of 8 bits needs one. Elsewhere i32x4.dot_i16x8_s makes 8. Fields are unpacked as one row needs them,
// for more rows once into bytes.
import { grainOf, scratch, take, teamSize } from "../../wasm/team.wasm";
import { oneRow } from "./one-row.wasm";
import { finish, Linear } from "./operands.wasm";
import { GROUP, groupBytes } from "./packed.wasm";
import { roundedForm, roundedRowBytes, roundRow } from "./rounded.wasm";
import {
  NARROW, narrowTiles, PANEL, panelBytes, panelStep, roundTile, tileBytes, tileRows, wideLanes, wideTiles,
} from "./rounded-tile.wasm";
import { multiplyPanel, SUM_BYTES } from "./row-tile.wasm";

/** Groups of weights in a piece of work: two cache lines of a row's outputs. encode.ts reserves room for their sums. */
@inline const PIECE: i32 = 4;
/** Groups, for each thread, that are pieces of their own at the end. */
@inline const TAIL: i32 = 6;
/** Rows times pieces that a thread takes at once, at most. */
@inline const ROWS_AT_ONCE: i32 = 16;

export function linearRounded(op: Linear): void {
  let rounded = op.quantized;
  let room = scratch();
  if (rounded == 0) {
    rounded = room;
    room += roundAll(op, rounded);
  }
  if (op.rows == 1) oneRow(op, rounded, room);
  else manyRows(op, rounded, room);
}

/** Rounds x for a following `linear`; an instruction of its own where x is worth sharing. */
export function quantize(instruction: usize): void {
  const op = changetype<Linear>(instruction);
  if (op.rows == 1) {
    if (take(1) == 0) roundRow(op.x, op.cols >> 5, roundedForm(1, op.eightBits), op.quantized);
    return;
  }
  // By columns: a block of all rows lies in one piece, and what a thread writes it does not share with another.
  const blocks = op.cols >> 5;
  const grain = grainOf(blocks, 4);
  for (let first = take(grain); first < blocks; first = take(grain)) {
    roundBlocks(op, first, min(grain, blocks - first), op.quantized, scratch());
  }
}

/** Rounds all of x for this thread alone; returns the bytes that it takes. */
function roundAll(op: Linear, to: usize): usize {
  const form = roundedForm(op.rows, op.eightBits);
  if (op.rows == 1) {
    roundRow(op.x, op.cols >> 5, form, to);
    return roundedRowBytes(op.cols, form);
  }
  const panels = (op.rows - 1) / PANEL;
  const bytes = <usize>panels * panelBytes(op.cols, form) + <usize>(op.cols >> 5) * panelStep(op.rows - panels * PANEL, form);
  roundBlocks(op, 0, op.cols >> 5, to, to + bytes);
  return bytes;
}

/** Rounds `count` blocks of 32 columns of all rows. */
function roundBlocks(op: Linear, first: i32, count: i32, to: usize, staging: usize): void {
  const form = roundedForm(op.rows, op.eightBits);
  const tiles = wideTiles(op.rows, form) + narrowTiles(op.rows, form);
  for (let tile = 0; tile < tiles; tile++) roundOne(op, tile, first, count, to, staging);
}

function roundOne(op: Linear, tile: i32, first: i32, count: i32, to: usize, staging: usize): void {
  const form = roundedForm(op.rows, op.eightBits), wide = wideTiles(op.rows, form), each = tileRows(form, wideLanes(form));
  // Only the last panel ends in narrow tiles.
  const narrow = max(tile - wide, 0), lanes = tile < wide ? wideLanes(form) : NARROW;
  const row = (tile - narrow) * each + narrow * tileRows(form, NARROW);
  const panel = row / PANEL, place = tile - narrow - panel * (PANEL / each);
  const step = panelStep(min(PANEL, op.rows - panel * PANEL), form);
  roundTile(
    op.x + (<usize>(row * op.xStride + first * 32) << 2), <usize>op.xStride << 2, min(tileRows(form, lanes), op.rows - row),
    count * 32, form, lanes, op.dtype,
    to + <usize>panel * panelBytes(op.cols, form) + <usize>first * step + <usize>place * tileBytes(form, wideLanes(form))
      + <usize>narrow * tileBytes(form, NARROW),
    step, staging,
  );
}

/**
 * A piece of work is PIECE groups of weights with the rows of a panel: a row's outputs of one group are half a cache line, of which
 * another thread should not write the other half at the same time. The last groups are pieces of their own, for an even end.
 */
function manyRows(op: Linear, x: usize, sums: usize): void {
  const groups = (op.outputs + GROUP - 1) / GROUP;
  const panels = (op.rows + PANEL - 1) / PANEL;
  const whole = max(groups * panels - TAIL * teamSize(), 0) / panels / PIECE;
  const pieces = whole + groups - whole * PIECE;
  // Some microseconds each, so that no thread waits long enough at the end to fall asleep.
  const grain = max(min(grainOf(pieces * panels, 8), ROWS_AT_ONCE / op.rows), 1);
  const total = pieces * panels;
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const piece = item / panels, panel = item % panels;
      if (piece < whole) multiplyPiece(op, x, panel, piece * PIECE, PIECE, sums);
      else multiplyPiece(op, x, panel, piece + whole * (PIECE - 1), 1, sums);
    }
  }
}

/** `count` groups of weights with the rows of a panel. */
function multiplyPiece(op: Linear, x: usize, panel: i32, group: i32, count: i32, sums: usize): void {
  const form = roundedForm(op.rows, op.eightBits), size = groupBytes(op.dtype, op.cols);
  const row = panel * PANEL, rows = min(PANEL, op.rows - row);
  const at = x + <usize>panel * panelBytes(op.cols, form);
  const step = <usize>PANEL * SUM_BYTES, unpacked = sums + PIECE * step;
  for (let i = 0; i < count; i++) {
    const weight = op.weight + <usize>(group + i) * size;
    multiplyPanel(weight, op.dtype, op.cols, at, rows, form, sums + <usize>i * step, unpacked);
  }
  for (let r = 0; r < rows; r++) {
    let sum = sums + <usize>r * SUM_BYTES;
    for (let i = 0; i < count; i++) {
      finish(op, row + r, (group + i) * GROUP, v128.load(sum), v128.load(sum, 16));
      sum += step;
    }
  }
}
