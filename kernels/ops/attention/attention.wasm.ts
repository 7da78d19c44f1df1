import { tanh } from "../../wasm/activate.wasm";
import { exp, exp1, horizontalSum, madd } from "../../wasm/math.wasm";
import { accumulate } from "../../wasm/product.wasm";
import { loadSome, storeSome } from "../../wasm/slices.wasm";
import { grainOf, scratch, take } from "../../wasm/team.wasm";
import { scoreFour, scoreOne, TILE, TILE_BYTES } from "./score.wasm";
import { expandRows, headInPages, PAGE_TOKENS, storeHalves } from "./slots.wasm";

/** The words of an instruction, as encode-attention.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class Attention {
  opcode: i32;
  bytes: i32;
  batch: i32;
  length: i32;
  nHead: i32;
  nKvHead: i32;
  headDimK: i32;
  headDimV: i32;
  scale: f32;
  /** 0: none. */
  softCap: f32;
  /** 0: none, and keys and values are tables of pages. */
  window: i32;
  /** 1 where keys and values are kept as f16. */
  half: i32;
  /** Query rows of a piece of work. */
  block: i32;
  /** Stretches of keys that different pieces take. */
  splits: i32;
  q: usize;
  qStride: i32;
  k: usize;
  kStride: i32;
  v: usize;
  vStride: i32;
  keys: usize;
  keysStride: i32;
  values: usize;
  valuesStride: i32;
  positions: usize;
  y: usize;
  yStride: i32;
  /** (B · T · nHead, splits, 2 + headDimV): largest score, sum and weighted sum of each stretch. */
  parts: usize;
}

@inline
function padded(count: i32, multiple: i32): i32 {
  return (count + multiple - 1) / multiple * multiple;
}

// A thread's scratch memory, one after the other, each in rows of a whole number of vectors:
//   queries (block, headDimK), sums (block, headDimV to 8), scores (block, TILE), largest (block), totals (block),
//   a tile of keys (TILE, headDimK), a tile of values (TILE, headDimV to 8)

@inline
function queriesAt(_op: Attention): usize {
  return scratch();
}

@inline
function sumsAt(op: Attention): usize {
  return queriesAt(op) + (<usize>padded(op.block, 4) * padded(op.headDimK, 4) << 2);
}

@inline
function scoresAt(op: Attention): usize {
  return sumsAt(op) + (<usize>padded(op.block, 4) * padded(op.headDimV, 8) << 2);
}

@inline
function largestAt(op: Attention): usize {
  return scoresAt(op) + <usize>padded(op.block, 4) * TILE_BYTES;
}

@inline
function totalsAt(op: Attention): usize {
  return largestAt(op) + (<usize>padded(op.block, 4) << 2);
}

@inline
function keyTileAt(op: Attention): usize {
  return totalsAt(op) + (<usize>padded(op.block, 4) << 2);
}

@inline
function valueTileAt(op: Attention): usize {
  return keyTileAt(op) + (<usize>TILE * padded(op.headDimK, 4) << 2);
}

/**
 * y of every token and head. The heads that share keys, and neighbouring tokens, are rows of one piece of work, so that
 * a tile of keys is read once for all of them.
 */
export function attention(instruction: usize): void {
  const op = changetype<Attention>(instruction);
  const rows = op.length * (op.nHead / op.nKvHead);
  const blocks = (rows + op.block - 1) / op.block;
  const total = op.batch * op.nKvHead * blocks * op.splits;
  for (let item = take(1); item < total; item = take(1)) {
    const from = (item / op.splits) % blocks * op.block;
    const pair = item / op.splits / blocks;
    attend(op, pair / op.nKvHead, pair % op.nKvHead, from, min(from + op.block, rows), item % op.splits);
  }
}

/** Rows `from … to − 1` (row = token · heads of the group + head) over one of the stretches of their keys. */
function attend(op: Attention, b: i32, kvHead: i32, from: i32, to: i32, split: i32): void {
  const group = op.nHead / op.nKvHead;
  const before = load<i32>(op.positions + (<usize>b << 2));
  const oldest = before + from / group;
  const end = before + (to - 1) / group + 1;
  const start = op.window == 0 ? 0 : max(0, oldest - op.window + 1);
  const share = padded((end - start + op.splits - 1) / op.splits, TILE);
  const rows = to - from;
  openBlock(op, b, kvHead, from, rows);
  let s = start + split * share;
  const stop = min(end, s + share);
  while (s < stop) {
    const isOwn = s >= before;
    let count = min(TILE, stop - s);
    if (!isOwn) {
      const together = op.window == 0 ? PAGE_TOKENS - s % PAGE_TOKENS : op.window - s % op.window;
      count = min(count, min(together, before - s));
    }
    let keys: usize, values: usize, keyRow: usize, valueRow: usize;
    if (isOwn) {
      const row = <usize>b * op.length + s - before;
      keyRow = <usize>op.kStride << 2;
      valueRow = <usize>op.vStride << 2;
      keys = op.k + row * keyRow + (<usize>kvHead * op.headDimK << 2);
      values = op.v + row * valueRow + (<usize>kvHead * op.headDimV << 2);
    } else {
      keyRow = slotStep(op, op.headDimK);
      valueRow = slotStep(op, op.headDimV);
      keys = headInSlot(op, op.keys, op.keysStride, b, s, kvHead, op.headDimK);
      values = headInSlot(op, op.values, op.valuesStride, b, s, kvHead, op.headDimV);
    }
    // Pages of f32 are read where they are. Elsewhere the rows of one head are far apart, often by a power of two, and would
    // drive each other out of the cache.
    const isPage = !isOwn && op.window == 0 && op.half == 0;
    const half = !isOwn && op.half != 0;
    if (!isPage || op.headDimK % 4 != 0) {
      expandRows(keys, keyRow, half, count, op.headDimK, padded(op.headDimK, 4), keyTileAt(op));
      keys = keyTileAt(op);
      keyRow = <usize>padded(op.headDimK, 4) << 2;
    }
    if (!isPage || op.headDimV % 8 != 0) {
      expandRows(values, valueRow, half, count, op.headDimV, padded(op.headDimV, 8), valueTileAt(op));
      values = valueTileAt(op);
      valueRow = <usize>padded(op.headDimV, 8) << 2;
    }
    score(op, rows, keys, keyRow, count);
    for (let row = 0; row < rows; row++) {
      const position = before + (from + row) / group;
      const first = op.window == 0 ? 0 : max(0, position - op.window + 1);
      weigh(op, row, max(0, first - s), min(count, position + 1 - s), count);
    }
    addValues(op, rows, values, valueRow, count);
    s += count;
  }
  closeBlock(op, b, kvHead, from, rows, split);
}

/** Bytes from a token's head in a slot to the next token's: in a page heads lie apart, in a ring tokens do. */
@inline
function slotStep(op: Attention, headDim: i32): usize {
  return op.window == 0 ? <usize>headDim << (op.half != 0 ? 1 : 2) : <usize>op.nKvHead * headDim << 2;
}

/** Where a token's head lies in a slot. */
@inline
function headInSlot(op: Attention, slot: usize, stride: i32, b: i32, token: i32, kvHead: i32, headDim: i32): usize {
  if (op.window == 0) return headInPages(slot, b, token, kvHead, slotStep(op, headDim));
  return slot + ((<usize>b * stride + (token % op.window * op.nKvHead + kvHead) * headDim) << 2);
}

/** Copies the block's queries, times the scale, and begins its sums. */
function openBlock(op: Attention, b: i32, kvHead: i32, from: i32, rows: i32): void {
  const group = op.nHead / op.nKvHead;
  const scales = f32x4.splat(op.scale);
  let to = queriesAt(op);
  for (let row = from; row < from + rows; row++) {
    const head = kvHead * group + row % group;
    const q = op.q + (((<usize>b * op.length + row / group) * op.qStride + head * op.headDimK) << 2);
    for (let i = 0; i < op.headDimK; i += 4) {
      v128.store(to, f32x4.mul(loadSome(q + (<usize>i << 2), op.headDimK - i), scales));
      to += 16;
    }
  }
  memory.fill(sumsAt(op), 0, <usize>rows * padded(op.headDimV, 8) << 2);
  for (let row: usize = 0; row < <usize>rows; row++) {
    store<f32>(largestAt(op) + (row << 2), -f32.POSITIVE_INFINITY);
    store<f32>(totalsAt(op) + (row << 2), 0);
  }
}

/** scores[row, j] = q[row] · key[j] */
function score(op: Attention, rows: i32, keys: usize, keyRow: usize, count: i32): void {
  const bytes = <usize>padded(op.headDimK, 4) << 2;
  let q = queriesAt(op), out = scoresAt(op);
  let row = 0;
  for (; row + 4 <= rows; row += 4) {
    scoreFour(q, bytes, keys, keyRow, count, out);
    q += bytes << 2;
    out += TILE_BYTES << 2;
  }
  for (; row < rows; row++) {
    scoreOne(q, bytes, keys, keyRow, count, out);
    q += bytes;
    out += TILE_BYTES;
  }
}

/**
 * Makes a row's scores exponentials of their distance to the largest so far, zeros where the row does not see the key
 * (`from … to − 1` it does); a larger one than before scales down what was summed.
 */
function weigh(op: Attention, row: i32, from: i32, to: i32, count: i32): void {
  const scores = scoresAt(op) + <usize>row * TILE_BYTES;
  const end = scores + (<usize>padded(count, 4) << 2);
  if (from >= to) {
    memory.fill(scores, 0, end - scores);
    return;
  }
  if (op.softCap != 0) {
    const cap = f32x4.splat(op.softCap);
    for (let p = scores; p < end; p += 16) v128.store(p, f32x4.mul(cap, tanh(f32x4.div(v128.load(p), cap))));
  }
  for (let p = scores; p < scores + (<usize>from << 2); p += 4) store<f32>(p, -f32.POSITIVE_INFINITY);
  for (let p = scores + (<usize>to << 2); p < end; p += 4) store<f32>(p, -f32.POSITIVE_INFINITY);
  let most = v128.load(scores);
  for (let p = scores + 16; p < end; p += 16) most = f32x4.max(most, v128.load(p));
  most = f32x4.max(most, v128.shuffle<f32>(most, most, 2, 3, 0, 1));
  const old = load<f32>(largestAt(op) + (<usize>row << 2));
  const largest = max<f32>(old, max<f32>(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)));
  const largests = f32x4.splat(largest);
  let sum = f32x4.splat(0);
  for (let p = scores; p < end; p += 16) {
    const weights = exp(f32x4.sub(v128.load(p), largests));
    v128.store(p, weights);
    sum = f32x4.add(sum, weights);
  }
  const total = totalsAt(op) + (<usize>row << 2);
  const keep = exp1(old - largest);
  store<f32>(total, load<f32>(total) * keep + horizontalSum(sum));
  if (largest == old) return;
  store<f32>(largestAt(op) + (<usize>row << 2), largest);
  const bytes = <usize>padded(op.headDimV, 8) << 2;
  const sums = sumsAt(op) + <usize>row * bytes;
  for (let p = sums; p < sums + bytes; p += 16) v128.store(p, f32x4.mul(v128.load(p), f32x4.splat(keep)));
}

/** sums[row] += Σ_j weights[row, j] · value[j] */
function addValues(op: Attention, rows: i32, values: usize, valueRow: usize, count: i32): void {
  const bytes = <usize>padded(op.headDimV, 8) << 2;
  for (let row = 0; row < rows; row += 4) {
    const weights = scoresAt(op) + <usize>row * TILE_BYTES;
    const sums = sumsAt(op) + <usize>row * bytes;
    for (let i: usize = 0; i < bytes; i += 32) {
      accumulate(min(4, rows - row), weights, TILE_BYTES, 4, values + i, valueRow, count, sums + i, bytes);
    }
  }
}

/** Writes y, or what `attentionFinish` makes it of. */
function closeBlock(op: Attention, b: i32, kvHead: i32, from: i32, rows: i32, split: i32): void {
  const group = op.nHead / op.nKvHead;
  let sums = sumsAt(op);
  for (let row = 0; row < rows; row++) {
    const token = <usize>b * op.length + (from + row) / group;
    const head = kvHead * group + (from + row) % group;
    const total = load<f32>(totalsAt(op) + (<usize>row << 2));
    let to = op.y + ((token * op.yStride + head * op.headDimV) << 2);
    let scale: f32 = 1 / total;
    if (op.splits > 1) {
      to = op.parts + (((token * op.nHead + head) * op.splits + split) * (2 + op.headDimV) << 2);
      store<f32>(to, load<f32>(largestAt(op) + (<usize>row << 2)));
      store<f32>(to, total, 4);
      to += 8;
      scale = 1;
    }
    for (let i = 0; i < op.headDimV; i += 4) {
      const at = <usize>i << 2;
      storeSome(to + at, f32x4.mul(v128.load(sums + at), f32x4.splat(scale)), op.headDimV - i);
    }
    sums += <usize>padded(op.headDimV, 8) << 2;
  }
}

/** Puts the stretches together, and keeps the run's keys and values: behind `attention`, which reads what they replace. */
export function attentionFinish(instruction: usize): void {
  const op = changetype<Attention>(instruction);
  const combined = op.splits > 1 ? op.batch * op.length * op.nHead : 0;
  const kept = op.window == 0 ? op.length : min(op.length, op.window);
  const total = combined + op.batch * kept;
  const grain = grainOf(total, 4);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      if (item < combined) combine(op, item);
      else keep(op, (item - combined) / kept, op.length - kept + (item - combined) % kept);
    }
  }
}

/** Row = token · nHead + head. */
function combine(op: Attention, row: i32): void {
  const bytes = <usize>(2 + op.headDimV) << 2;
  const parts = op.parts + <usize>row * op.splits * bytes;
  const end = parts + <usize>op.splits * bytes;
  let largest = load<f32>(parts);
  for (let p = parts + bytes; p < end; p += bytes) largest = max<f32>(largest, load<f32>(p));
  let total: f32 = 0;
  for (let p = parts; p < end; p += bytes) {
    // From here on the part's weight in the whole.
    const weight = exp1(load<f32>(p) - largest);
    store<f32>(p, weight);
    total += weight * load<f32>(p, 4);
  }
  const y = op.y + ((<usize>(row / op.nHead) * op.yStride + row % op.nHead * op.headDimV) << 2);
  const scale = f32x4.splat(1 / total);
  for (let i = 0; i < op.headDimV; i += 4) {
    const at = <usize>i << 2;
    let sum = f32x4.splat(0);
    for (let p = parts; p < end; p += bytes) {
      sum = madd(loadSome(p + 8 + at, op.headDimV - i), v128.load32_splat(p), sum);
    }
    storeSome(y + at, f32x4.mul(sum, scale), op.headDimV - i);
  }
}

/** Writes a token's keys and values into the slots. */
function keep(op: Attention, b: i32, t: i32): void {
  const row = <usize>b * op.length + t;
  const token = load<i32>(op.positions + (<usize>b << 2)) + t;
  for (let head = 0; head < op.nKvHead; head++) {
    const k = op.k + ((row * op.kStride + head * op.headDimK) << 2);
    const v = op.v + ((row * op.vStride + head * op.headDimV) << 2);
    keepHead(op, k, op.headDimK, headInSlot(op, op.keys, op.keysStride, b, token, head, op.headDimK));
    keepHead(op, v, op.headDimV, headInSlot(op, op.values, op.valuesStride, b, token, head, op.headDimV));
  }
}

@inline
function keepHead(op: Attention, from: usize, count: i32, to: usize): void {
  if (op.half != 0) storeHalves(from, count, to);
  else memory.copy(to, from, <usize>count << 2);
}
