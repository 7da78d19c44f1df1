// Experts of 4 to 8 bits a weight times rows of x rounded as for `linear` (see ../linear/rounded-tile.wasm.ts): the weights
// stay packed, and are unpacked once for all rows that go to their expert.
import { scratch, take } from "../../wasm/team.wasm";
import { GROUP, groupBytes } from "../linear/packed.wasm";
import { ALONE, BYTES, roundedForm } from "../linear/rounded.wasm";
import { NARROW, narrowTiles, panelStep, roundTile, tileBytes, tileRows, wideLanes, wideTiles } from "../linear/rounded-tile.wasm";
import { multiplyPanel, SUM_BYTES } from "../linear/row-tile.wasm";
import { ExpertLinear, expertOf } from "./operands.wasm";

/** Rows of an expert that are multiplied at once: whole tiles of every form. */
@inline const ROWS: i32 = 24;

/** Groups of weights of an expert that a thread takes at once, with x rounded for them. */
@inline const STRIP: i32 = 16;

/** A thread's working memory: as encode-experts.ts counts it. */
@unmanaged
class Room {
  places: usize;
  sums: usize;
  unpacked: usize;
  gathered: usize;
  rounded: usize;
}

/**
 * Few tokens: a piece of work is a strip of the groups of one place's expert. Many: a strip of an expert's groups, with all rows
 * that go to it.
 */
export function expertRounded(op: ExpertLinear): void {
  const room = changetype<Room>(scratch());
  room.places = scratch() + 64;
  room.sums = room.places + ROWS * 4;
  room.unpacked = room.sums + <usize>ROWS * SUM_BYTES;
  room.gathered = room.unpacked + <usize>GROUP * 320;
  room.rounded = room.gathered + <usize>(6 * op.cols) * 4;
  // An expert's rows of weights may begin and end within groups.
  const strips = ((op.outputs + GROUP - 1) / GROUP + STRIP) / STRIP;
  const places = op.rows * op.topK;
  const few = places < op.nExpert;
  const total = (few ? places : op.nExpert) * strips;
  for (let item = take(1); item < total; item = take(1)) {
    const from = (item % strips) * STRIP;
    if (few) multiplyPlace(op, room, item / strips, from);
    else multiplyStrip(op, room, item / strips, from);
  }
}

function multiplyPlace(op: ExpertLinear, room: Room, place: i32, from: i32): void {
  const expert = expertOf(op, place / op.topK, place % op.topK);
  if (expert < 0) return;
  store<i32>(room.places, place);
  multiplyRows(op, room, expert, from, 1);
}

/** STRIP groups of an expert, from its group `from` on, with all its rows. */
function multiplyStrip(op: ExpertLinear, room: Room, expert: i32, from: i32): void {
  const places = op.rows * op.topK;
  let count = 0;
  for (let place = 0; place < places; place++) {
    const row = place / op.topK, j = place % op.topK;
    if (load<f32>(op.experts + (<usize>(row * op.expertsStride + j) << 2)) != <f32>expert) continue;
    store<i32>(room.places + (<usize>count << 2), place);
    count++;
    if (count < ROWS) continue;
    multiplyRows(op, room, expert, from, count);
    count = 0;
  }
  if (count > 0) multiplyRows(op, room, expert, from, count);
}

/** The same with the `count` rows of `places`. */
function multiplyRows(op: ExpertLinear, room: Room, expert: i32, from: i32, count: i32): void {
  const begin = expert * op.outputs, end = begin + op.outputs;
  const first = begin / GROUP + from, last = min(first + STRIP - 1, (end - 1) / GROUP);
  if (first > last) return;
  let form = roundedForm(op.rows, op.eightBits);
  // A tile, be it of one row.
  if (form == ALONE) form = BYTES;
  roundRows(op, room, form, count);
  for (let group = first; group <= last; group++) {
    const weight = op.weight + <usize>group * groupBytes(op.dtype, op.cols);
    multiplyPanel(weight, op.dtype, op.cols, room.rounded, count, form, room.sums, room.unpacked);
    const low = max(group * GROUP, begin), high = min(group * GROUP + GROUP, end);
    for (let i = 0; i < count; i++) {
      const place = load<i32>(room.places + (<usize>i << 2));
      const products = op.products + (<usize>(place / op.topK * op.productsStride + place % op.topK * op.outputs) << 2);
      const sums = room.sums + <usize>i * SUM_BYTES;
      for (let r = low; r < high; r++) {
        const bias: f32 = op.bias == 0 ? 0 : load<f32>(op.bias + (<usize>r << 2));
        store<f32>(products + (<usize>(r - begin) << 2), load<f32>(sums + (<usize>(r - group * GROUP) << 2)) + bias);
      }
    }
  }
}

/** Rounds the rows of x in `places`, a tile after the other. */
function roundRows(op: ExpertLinear, room: Room, form: i32, count: i32): void {
  const wide = wideTiles(count, form), tiles = wide + narrowTiles(count, form);
  const step = panelStep(count, form), rowBytes = <usize>op.cols << 2;
  let to = room.rounded;
  let row = 0;
  for (let tile = 0; tile < tiles; tile++) {
    const lanes = tile < wide ? wideLanes(form) : NARROW;
    const rows = min(tileRows(form, lanes), count - row);
    for (let i = 0; i < rows; i++) {
      const place = load<i32>(room.places + (<usize>(row + i) << 2));
      const x = op.x + (<usize>(place / op.topK * op.xStride + place % op.topK * op.xStep) << 2);
      memory.copy(room.gathered + <usize>i * rowBytes, x, rowBytes);
    }
    // The sums are not needed yet: their room serves as the staging of one block.
    roundTile(room.gathered, rowBytes, rows, op.cols, form, lanes, op.dtype, to, step, room.sums);
    to += tileBytes(form, lanes);
    row += rows;
  }
}
