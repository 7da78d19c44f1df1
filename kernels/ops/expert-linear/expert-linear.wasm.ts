import { accumulate } from "../../wasm/product.wasm";
import { madd } from "../../wasm/math.wasm";
import { grainOf, isLeader, scratch, take } from "../../wasm/team.wasm";
import { Q8_0 } from "../linear/bit-fields.wasm";
import { expandGroup, F32, GROUP, groupBytes } from "../linear/packed.wasm";
import { expertRounded } from "./expert-rounded.wasm";
import { ExpertLinear, expertOf } from "./operands.wasm";

/** Bytes of the sums of four rows of x times a group of weights. */
@inline const SUMS: usize = 4 * 32;

/**
 * p_j = x_j W[e_j]ᵀ + bias[e_j]. Few tokens: each one's experts are looked up, and a piece of work is a group of weights
 * times one row of x. Many: a piece is a group of weights times all rows that go to its expert, so that it is read once. Weights of
 * 4 to 8 bits: see expert-rounded.wasm.ts.
 */
export function expertLinear(instruction: usize): void {
  const op = changetype<ExpertLinear>(instruction);
  if (op.dtype >= Q8_0) {
    expertRounded(op);
    if (isLeader()) clearWithoutExpert(op);
  } else if (op.rows * op.topK < op.nExpert) byPlace(op);
  else byExpert(op);
}

function byPlace(op: ExpertLinear): void {
  // An expert's rows may begin and end within groups.
  const pieces = (op.outputs + GROUP - 1) / GROUP + 1;
  const total = op.rows * op.topK * pieces;
  const grain = grainOf(total, 8);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const place = item / pieces;
      const row = place / op.topK, j = place % op.topK;
      const expert = expertOf(op, row, j);
      if (expert < 0) {
        if (item % pieces == 0) clear(op, row, j);
        continue;
      }
      const group = expert * op.outputs / GROUP + item % pieces;
      if (group * GROUP >= (expert + 1) * op.outputs) continue;
      const x = op.x + (<usize>row * op.xStride + j * op.xStep << 2);
      multiply(op, expanded(op, group), x, 1);
      finish(op, group, expert, row, j, 0);
    }
  }
}

function byExpert(op: ExpertLinear): void {
  const groups = (op.nExpert * op.outputs + GROUP - 1) / GROUP;
  const grain = grainOf(groups, 8);
  for (let first = take(grain); first < groups; first = take(grain)) {
    const end = min(first + grain, groups);
    for (let group = first; group < end; group++) {
      const last = min((group * GROUP + GROUP - 1) / op.outputs, op.nExpert - 1);
      let weight: usize = 0;
      for (let expert = group * GROUP / op.outputs; expert <= last; expert++) {
        weight = multiplyExpert(op, group, expert, weight);
      }
    }
  }
  if (isLeader()) clearWithoutExpert(op);
}

/** One group of weights times all rows that go to one expert. Returns the group as f32, once it was needed. */
function multiplyExpert(op: ExpertLinear, group: i32, expert: i32, weight: usize): usize {
  // Four rows of x, one behind the other; which places they stand for.
  const gathered = scratch() + SUMS;
  const rowBytes = <usize>op.cols << 2;
  let count = 0;
  let p0 = 0, p1 = 0, p2 = 0, p3 = 0;
  const places = op.rows * op.topK;
  for (let place = 0; place <= places; place++) {
    if (place < places) {
      const row = place / op.topK, j = place % op.topK;
      if (load<f32>(op.experts + (<usize>row * op.expertsStride + j << 2)) != <f32>expert) continue;
      memory.copy(gathered + <usize>count * rowBytes, op.x + (<usize>row * op.xStride + j * op.xStep << 2), rowBytes);
      if (count == 0) p0 = place;
      else if (count == 1) p1 = place;
      else if (count == 2) p2 = place;
      else p3 = place;
      count++;
    }
    if (count == 0 || (count < 4 && place < places)) continue;
    if (weight == 0) weight = expanded(op, group);
    multiply(op, weight, gathered, count);
    finish(op, group, expert, p0 / op.topK, p0 % op.topK, 0);
    if (count > 1) finish(op, group, expert, p1 / op.topK, p1 % op.topK, 1);
    if (count > 2) finish(op, group, expert, p2 / op.topK, p2 % op.topK, 2);
    if (count > 3) finish(op, group, expert, p3 / op.topK, p3 % op.topK, 3);
    count = 0;
  }
  return weight;
}

/** A group of weights as [column][8] f32. */
function expanded(op: ExpertLinear, group: i32): usize {
  const weight = op.weight + <usize>group * groupBytes(op.dtype, op.cols);
  if (op.dtype == F32) return weight;
  const to = scratch() + SUMS + (<usize>op.cols << 4);
  expandGroup(weight, op.dtype, op.cols, to);
  return to;
}

/** The sums of up to four rows of x that lie one behind the other, at the beginning of this thread's scratch. */
function multiply(op: ExpertLinear, weight: usize, x: usize, rows: i32): void {
  const sums = scratch();
  memory.fill(sums, 0, SUMS);
  accumulate(rows, x, <usize>op.cols << 2, 4, weight, 32, op.cols, sums, 32);
}

/** Writes what belongs to one expert of the sums of row `sum`. */
function finish(op: ExpertLinear, group: i32, expert: i32, row: i32, j: i32, sum: i32): void {
  const sums = scratch() + (<usize>sum << 5);
  const begin = expert * op.outputs;
  const from = max(group * GROUP, begin);
  const to = min(group * GROUP + GROUP, begin + op.outputs);
  const products = op.products + (<usize>row * op.productsStride + j * op.outputs << 2);
  for (let r = from; r < to; r++) {
    const bias: f32 = op.bias == 0 ? 0 : load<f32>(op.bias + (<usize>r << 2));
    store<f32>(products + (<usize>(r - begin) << 2), load<f32>(sums + (<usize>(r - group * GROUP) << 2)) + bias);
  }
}

function clear(op: ExpertLinear, row: i32, j: i32): void {
  memory.fill(op.products + (<usize>row * op.productsStride + j * op.outputs << 2), 0, <usize>op.outputs << 2);
}

function clearWithoutExpert(op: ExpertLinear): void {
  for (let row = 0; row < op.rows; row++) {
    for (let j = 0; j < op.topK; j++) if (expertOf(op, row, j) < 0) clear(op, row, j);
  }
}

/** y = residual + Σ_j weights_j p_j, in the order of j. A row is one piece of work. */
export function expertSum(instruction: usize): void {
  const op = changetype<ExpertLinear>(instruction);
  for (let row = take(1); row < op.rows; row = take(1)) {
    const products = op.products + (<usize>row * op.productsStride << 2);
    const weights = op.weights + (<usize>row * op.weightsStride << 2);
    const residual = op.residual + (<usize>row * op.residualStride << 2);
    const y = op.y + (<usize>row * op.yStride << 2);
    let r = 0;
    for (; r + 4 <= op.outputs; r += 4) {
      const at = <usize>r << 2;
      let total = op.residual == 0 ? f32x4.splat(0) : v128.load(residual + at);
      for (let j = 0; j < op.topK; j++) {
        const weight = v128.load32_splat(weights + (<usize>j << 2));
        total = madd(v128.load(products + (<usize>(j * op.outputs) << 2) + at), weight, total);
      }
      v128.store(y + at, total);
    }
    for (; r < op.outputs; r++) {
      const at = <usize>r << 2;
      let total: f32 = op.residual == 0 ? 0 : load<f32>(residual + at);
      for (let j = 0; j < op.topK; j++) {
        total += load<f32>(weights + (<usize>j << 2)) * load<f32>(products + (<usize>(j * op.outputs) << 2) + at);
      }
      store<f32>(y + at, total);
    }
  }
}
