import { sigmoid } from "../../wasm/activate.wasm";
import { exp, horizontalSum, madd } from "../../wasm/math.wasm";
import { loadSome, storeSome } from "../../wasm/slices.wasm";
import { grainOf, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode-rwkv.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class Wkv7Keys {
  opcode: i32;
  bytes: i32;
  rows: i32;
  heads: i32;
  headDim: i32;
  k: usize;
  kStride: i32;
  w: usize;
  wStride: i32;
  a: usize;
  aStride: i32;
  removal: usize;
  replacement: usize;
  eps: f32;
  y: usize;
  yStride: i32;
}

/** −e^−½ */
@inline const SLOWEST: f32 = -0.6065306597126334;

/** w = exp(−e^−½ σ(d)); a = σ(a); κ̂ = (k ⊙ ξ) / ‖k ⊙ ξ‖ head by head; k̃ = k ⊙ (1 + (a − 1) ⊙ α). */
export function wkv7Keys(instruction: usize): void {
  const op = changetype<Wkv7Keys>(instruction);
  const total = op.rows * op.heads;
  const grain = grainOf(total, 4);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) oneHead(op, <usize>(item / op.heads), item % op.heads);
  }
}

function oneHead(op: Wkv7Keys, row: usize, head: i32): void {
  const from = <usize>head * op.headDim << 2;
  const channels = <usize>op.heads * op.headDim << 2;
  const k = op.k + (row * op.kStride << 2) + from;
  const w = op.w + (row * op.wStride << 2) + from;
  const a = op.a + (row * op.aStride << 2) + from;
  const y = op.y + (row * op.yStride << 2) + from;
  const removal = op.removal + from;
  const replacement = op.replacement + from;
  const one = f32x4.splat(1);
  let squares = f32x4.splat(0);
  for (let i = 0; i < op.headDim; i += 4) {
    const at = <usize>i << 2;
    const count = op.headDim - i;
    const removed = f32x4.mul(loadSome(k + at, count), loadSome(removal + at, count));
    squares = madd(removed, removed, squares);
  }
  const scale = f32x4.splat(1 / sqrt<f32>(horizontalSum(squares) + op.eps));
  for (let i = 0; i < op.headDim; i += 4) {
    const at = <usize>i << 2;
    const count = op.headDim - i;
    const key = loadSome(k + at, count);
    const rate = sigmoid(loadSome(a + at, count));
    const replaced = madd(f32x4.sub(rate, one), loadSome(replacement + at, count), one);
    const decay = exp(f32x4.mul(f32x4.splat(SLOWEST), sigmoid(loadSome(w + at, count))));
    const to = y + at;
    storeSome(to, decay, count);
    storeSome(to + channels, rate, count);
    storeSome(to + 2 * channels, f32x4.mul(f32x4.mul(key, loadSome(removal + at, count)), scale), count);
    storeSome(to + 3 * channels, f32x4.mul(key, replaced), count);
  }
}
