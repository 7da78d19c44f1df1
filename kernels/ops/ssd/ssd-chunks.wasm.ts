// Many tokens of ssd, in chunks of Q as matrix products (Dao and Gu 2024, arXiv:2405.21060, §6), on panels of
// wasm/panel-product.wasm.ts: rows are tokens or states, columns channels.
//
// What the heads of a group share is made first, for each chunk:
//
//   C        [tiles of 6 tokens][states][6]
//   B        [tiles of 6 states][tokens][6]
//   scores   [tiles of 6 tokens][tiles of 8 tokens][6][8], C Bᵀ on and below the diagonal
//
// Rows that are missing in the last tile are zeros.
import { exp, exp1, madd, silu, softplus } from "../../wasm/math.wasm";
import { addPanels, COLUMNS, LINE, multiplyPanels, OUT_BYTES, ROWS } from "../../wasm/panel-product.wasm";
import { loadSome, storeSome } from "../../wasm/slices.wasm";
import { scratch, take } from "../../wasm/team.wasm";
import { groupOf, Ssd } from "./ssd.wasm";

/**
 * What has decayed to less than e^this, 1e-20, counts as gone: beside anything that has not, f32 does not hold it, and products with
 * it become subnormal, each of which costs Intel's CPUs a hundred cycles.
 */
@inline const NEGLIGIBLE: f32 = -46;

/** e^x for what decays. */
@inline
function decayOf(x: v128): v128 {
  return v128.andnot(exp(x), f32x4.lt(x, f32x4.splat(NEGLIGIBLE)));
}

@inline
function tilesOf(rows: i32): i32 {
  return (rows + ROWS - 1) / ROWS;
}

/** Bytes of a panel a with so many k. */
@inline
function panelBytes(count: i32): usize {
  return <usize>count * LINE;
}

@inline
function sharedC(op: Ssd): usize {
  return <usize>tilesOf(op.chunk) * panelBytes(op.dState);
}

@inline
function sharedB(op: Ssd): usize {
  return <usize>tilesOf(op.dState) * panelBytes(op.chunk);
}

/** Bytes of the scores of six tokens. */
@inline
function scoreBytes(op: Ssd): usize {
  return <usize>(op.chunk / COLUMNS) * OUT_BYTES;
}

/** Where what a group shares of a chunk lies. */
@inline
function sharedAt(op: Ssd, item: i32): usize {
  return op.shared + <usize>item * (sharedC(op) + sharedB(op) + <usize>tilesOf(op.chunk) * scoreBytes(op));
}

/** C, B and scores of each chunk: an instruction of its own. */
export function ssdScores(instruction: usize): void {
  const op = changetype<Ssd>(instruction);
  const Q = op.chunk, N = op.dState;
  const chunks = (op.length + Q - 1) / Q;
  const total = op.batch * chunks * op.nGroup;
  const columns = scratch(); // Bᵀ, [tiles of 8 tokens][states][8]
  for (let item = take(1); item < total; item = take(1)) {
    const start = ((item / op.nGroup) % chunks) * Q;
    const tokens = min(Q, op.length - start);
    const row = <usize>(item / op.nGroup / chunks) * op.length + start;
    const offset = <usize>(item % op.nGroup) * N;
    const c = sharedAt(op, item), b = c + sharedC(op), scores = b + sharedB(op);
    memory.fill(c, 0, sharedC(op) + sharedB(op));
    memory.fill(columns, 0, <usize>(N * Q) << 2);
    for (let t = 0; t < tokens; t++) {
      const C = op.C + (((row + t) * op.CStride + offset) << 2), B = op.B + (((row + t) * op.BStride + offset) << 2);
      const toC = c + <usize>(t / ROWS) * panelBytes(N) + (<usize>(t % ROWS) << 2);
      const toColumns = columns + <usize>(t / COLUMNS * N) * 32 + (<usize>(t % COLUMNS) << 2);
      for (let n: usize = 0; n < <usize>N; n++) {
        store<f32>(toC + n * LINE, load<f32>(C + (n << 2)));
        store<f32>(toColumns + n * 32, load<f32>(B + (n << 2)));
      }
      for (let tile = 0; tile < tilesOf(N); tile++) {
        const to = b + <usize>tile * panelBytes(Q) + <usize>t * LINE, from = B + <usize>tile * LINE;
        memory.copy(to, from, <usize>min(ROWS, N - tile * ROWS) << 2);
      }
    }
    for (let tile = 0; tile < tilesOf(tokens); tile++) {
      const last = min(tile * ROWS + ROWS, tokens);
      for (let j = 0; j < last; j += COLUMNS) {
        multiplyPanels(
          c + <usize>tile * panelBytes(N), columns + <usize>(j * N << 2), N,
          scores + <usize>tile * scoreBytes(op) + <usize>(j / COLUMNS) * OUT_BYTES,
        );
      }
    }
  }
}

/** Working memory of a thread while it scans; all but h belongs to one chunk. */
@unmanaged
class Room {
  /** hᵀ, [tiles of 8 channels][states, whole tiles of 6][8] */
  h: usize;
  /** Of 8 channels: x, and x · dt · decay to the chunk's end, [tokens][8]. */
  x: usize;
  weighted: usize;
  /** Of 8 channels and 6 tokens. */
  y: usize;
  /** L ∘ (C Bᵀ) · dt, [tiles of 6 tokens][tokens][6] */
  mask: usize;
  /** dt; Σ dt A up to and with each token; dt · decay from it to the chunk's end; decay from the chunk's start to it. */
  dt: usize;
  sums: usize;
  ends: usize;
  starts: usize;
  /** The decay of the whole chunk, six times. */
  decay: usize;
}

/** A head (or a slice of its channels), chunk after chunk. */
export function ssdScan(instruction: usize): void {
  const op = changetype<Ssd>(instruction);
  const room = changetype<Room>(scratch());
  const vector = <usize>(tilesOf(op.chunk) * ROWS + 2) << 2;
  room.h = scratch() + 64;
  room.x = room.h + <usize>((op.slice + COLUMNS - 1) / COLUMNS * tilesOf(op.dState)) * OUT_BYTES;
  room.weighted = room.x + <usize>op.chunk * 32;
  room.y = room.weighted + <usize>op.chunk * 32;
  room.mask = room.y + OUT_BYTES;
  room.dt = room.mask + <usize>tilesOf(op.chunk) * panelBytes(op.chunk);
  room.sums = room.dt + vector;
  room.ends = room.sums + vector;
  room.starts = room.ends + vector;
  room.decay = room.starts + vector;
  const slices = (op.headDim + op.slice - 1) / op.slice;
  const total = op.batch * op.heads * slices;
  for (let item = take(1); item < total; item = take(1)) {
    const from = (item % slices) * op.slice;
    const head = (item / slices) % op.heads;
    scanSlice(op, room, item / slices / op.heads, head, from, min(op.slice, op.headDim - from));
  }
}

function scanSlice(op: Ssd, room: Room, b: i32, head: i32, from: i32, width: i32): void {
  const Q = op.chunk, N = op.dState;
  const channels = <usize>head * op.headDim + from;
  const state = op.state + ((<usize>b * op.stateStride + channels * N) << 2);
  const panel = <usize>tilesOf(N) * OUT_BYTES;
  for (let p = 0; p < width; p += COLUMNS) {
    loadState(state + (<usize>(p * N) << 2), min(COLUMNS, width - p), N, room.h + <usize>(p / COLUMNS) * panel);
  }
  const chunks = (op.length + Q - 1) / Q;
  for (let chunk = 0; chunk < chunks; chunk++) {
    const start = chunk * Q;
    const tokens = min(Q, op.length - start);
    const row = <usize>b * op.length + start;
    const c = sharedAt(op, (b * chunks + chunk) * op.nGroup + groupOf(op, head));
    prepareDecays(op, room, row, head, tokens);
    decayScores(op, room, c + sharedC(op) + sharedB(op), tokens);
    for (let p = 0; p < width; p += COLUMNS) {
      const h = room.h + <usize>(p / COLUMNS) * panel;
      loadChannels(op, room, row, channels + p, tokens, min(COLUMNS, width - p));
      for (let tile = 0; tile < tilesOf(tokens); tile++) {
        const first = tile * ROWS;
        multiplyPanels(c + <usize>tile * panelBytes(N), h, N, room.y);
        addPanels(
          room.starts + (<usize>first << 2), room.mask + <usize>tile * panelBytes(Q), room.x, min(first + ROWS, tokens), room.y,
        );
        storeChannels(op, room, row, head, channels + p, first, min(ROWS, tokens - first), min(COLUMNS, width - p));
      }
      for (let tile = 0; tile < tilesOf(N); tile++) {
        const B = c + sharedC(op) + <usize>tile * panelBytes(Q);
        addPanels(room.decay, B, room.weighted, tokens, h + <usize>tile * OUT_BYTES);
      }
    }
  }
  for (let p = 0; p < width; p += COLUMNS) {
    storeState(room.h + <usize>(p / COLUMNS) * panel, N, state + (<usize>(p * N) << 2), min(COLUMNS, width - p));
  }
}

/** dt and the decays that follow from it; what is behind the last token does nothing. */
function prepareDecays(op: Ssd, room: Room, row: usize, head: i32, tokens: i32): void {
  const bias: f32 = op.dtBias == 0 ? 0 : load<f32>(op.dtBias + (<usize>head << 2));
  const A = load<f32>(op.A + (<usize>head << 2));
  for (let t = 0; t < tokens; t++) {
    store<f32>(room.dt + (<usize>t << 2), load<f32>(op.dt + (((row + t) * op.dtStride + head) << 2)) + bias);
  }
  const least = f32x4.splat(op.dtMin), most = f32x4.splat(op.dtMax);
  for (let t = 0; t < tokens; t += 4) {
    const at = room.dt + (<usize>t << 2);
    let dt = v128.load(at);
    if (op.dtSoftplus != 0) dt = softplus(dt);
    v128.store(at, f32x4.max(least, f32x4.min(most, dt)));
  }
  let sum: f32 = 0;
  for (let t = 0; t < tokens; t++) {
    sum += load<f32>(room.dt + (<usize>t << 2)) * A;
    store<f32>(room.sums + (<usize>t << 2), sum);
  }
  for (let t = tokens; t < tilesOf(tokens) * ROWS + 2; t++) {
    store<f32>(room.dt + (<usize>t << 2), 0);
    store<f32>(room.sums + (<usize>t << 2), sum);
  }
  const all = f32x4.splat(sum);
  for (let t = 0; t < tilesOf(tokens) * ROWS; t += 4) {
    const at = <usize>t << 2;
    const sums = v128.load(room.sums + at);
    v128.store(room.ends + at, f32x4.mul(decayOf(f32x4.sub(all, sums)), v128.load(room.dt + at)));
    v128.store(room.starts + at, decayOf(sums));
  }
  v128.store(room.decay, decayOf(all));
  v128.store(room.decay, decayOf(all), 8);
}

/** mask[i, j] = exp(sums[i] − sums[j]) · scores[i, j] · dt[j] for j ≤ i; 0 behind it in its tile. */
function decayScores(op: Ssd, room: Room, scores: usize, tokens: i32): void {
  const lanes = i32x4(0, 1, 2, 3);
  for (let tile = 0; tile < tilesOf(tokens); tile++) {
    const end = min(tile * ROWS + ROWS, tokens);
    for (let r = 0; r < ROWS; r++) {
      const i = tile * ROWS + r;
      const sum = v128.load32_splat(room.sums + (<usize>i << 2));
      const last = i32x4.splat(i);
      let from = scores + <usize>tile * scoreBytes(op) + (<usize>r << 5);
      let to = room.mask + <usize>tile * panelBytes(op.chunk) + (<usize>r << 2);
      for (let j = 0; j < end; j += 4) {
        const at = <usize>j << 2;
        const decay = decayOf(f32x4.sub(sum, v128.load(room.sums + at)));
        const value = f32x4.mul(f32x4.mul(decay, v128.load(room.dt + at)), v128.load(from));
        const kept = v128.and(value, i32x4.le_s(i32x4.add(i32x4.splat(j), lanes), last));
        v128.store32_lane(to, kept, 0);
        if (j + 1 < end) v128.store32_lane(to, kept, 1, 24);
        if (j + 2 < end) v128.store32_lane(to, kept, 2, 48);
        if (j + 3 < end) v128.store32_lane(to, kept, 3, 72);
        to += 4 * LINE;
        from += (j & 4) == 0 ? 16 : OUT_BYTES - 16;
      }
    }
  }
}

/** x of up to 8 channels, and what each token leaves in the state at the chunk's end. */
function loadChannels(op: Ssd, room: Room, row: usize, channels: usize, tokens: i32, width: i32): void {
  for (let t = 0; t < tokens; t++) {
    const from = op.x + (((row + t) * op.xStride + channels) << 2);
    const at = <usize>t << 5;
    const low = loadSome(from, width), high = width > 4 ? loadSome(from + 16, width - 4) : f32x4.splat(0);
    const factor = v128.load32_splat(room.ends + (<usize>t << 2));
    v128.store(room.x + at, low);
    v128.store(room.x + at, high, 16);
    v128.store(room.weighted + at, f32x4.mul(low, factor));
    v128.store(room.weighted + at, f32x4.mul(high, factor), 16);
  }
}

/** y + D x, gated, of up to 6 tokens and 8 channels. */
function storeChannels(
  op: Ssd, room: Room, row: usize, head: i32, channels: usize, first: i32, tokens: i32, width: i32,
): void {
  const D = op.D == 0 ? f32x4.splat(0) : v128.load32_splat(op.D + (<usize>head << 2));
  for (let t = 0; t < tokens; t++) {
    const at = row + first + t;
    const x = room.x + (<usize>(first + t) << 5), y = room.y + (<usize>t << 5);
    for (let p = 0; p < width; p += 4) {
      const offset = <usize>p << 2;
      let value = madd(v128.load(x + offset), D, v128.load(y + offset));
      if (op.z != 0) value = f32x4.mul(value, silu(loadSome(op.z + ((at * op.zStride + channels + p) << 2), width - p)));
      storeSome(op.y + ((at * op.yStride + channels + p) << 2), value, width - p);
    }
  }
}

/** (channels, states) to [states][8]. */
function loadState(from: usize, channels: i32, states: i32, to: usize): void {
  memory.fill(to, 0, <usize>tilesOf(states) * OUT_BYTES);
  const stride = <usize>states << 2;
  let n = 0;
  if (channels == COLUMNS) {
    for (; n + 4 <= states; n += 4) {
      const at = from + (<usize>n << 2), into = to + (<usize>n << 5);
      transpose(at, at + stride, at + 2 * stride, at + 3 * stride, into, into + 32, into + 64, into + 96);
      const other = at + 4 * stride;
      transpose(
        other, other + stride, other + 2 * stride, other + 3 * stride, into + 16, into + 48, into + 80, into + 112,
      );
    }
  }
  for (; n < states; n++) {
    for (let p: usize = 0; p < <usize>channels; p++) {
      store<f32>(to + (<usize>n << 5) + (p << 2), load<f32>(from + p * stride + (<usize>n << 2)));
    }
  }
}

function storeState(from: usize, states: i32, to: usize, channels: i32): void {
  const stride = <usize>states << 2;
  let n = 0;
  if (channels == COLUMNS) {
    for (; n + 4 <= states; n += 4) {
      const at = to + (<usize>n << 2), out = from + (<usize>n << 5);
      transpose(out, out + 32, out + 64, out + 96, at, at + stride, at + 2 * stride, at + 3 * stride);
      const other = at + 4 * stride;
      transpose(
        out + 16, out + 48, out + 80, out + 112, other, other + stride, other + 2 * stride, other + 3 * stride,
      );
    }
  }
  for (; n < states; n++) {
    for (let p: usize = 0; p < <usize>channels; p++) {
      store<f32>(to + p * stride + (<usize>n << 2), load<f32>(from + (<usize>n << 5) + (p << 2)));
    }
  }
}

/** Lane i of the four vectors to vector i. */
@inline
function transpose(a: usize, b: usize, c: usize, d: usize, to0: usize, to1: usize, to2: usize, to3: usize): void {
  const u = v128.load(a), v = v128.load(b), w = v128.load(c), z = v128.load(d);
  const low = v128.shuffle<i32>(u, v, 0, 4, 1, 5), high = v128.shuffle<i32>(u, v, 2, 6, 3, 7);
  const otherLow = v128.shuffle<i32>(w, z, 0, 4, 1, 5), otherHigh = v128.shuffle<i32>(w, z, 2, 6, 3, 7);
  v128.store(to0, v128.shuffle<i64>(low, otherLow, 0, 2));
  v128.store(to1, v128.shuffle<i64>(low, otherLow, 1, 3));
  v128.store(to2, v128.shuffle<i64>(high, otherHigh, 0, 2));
  v128.store(to3, v128.shuffle<i64>(high, otherHigh, 1, 3));
}
