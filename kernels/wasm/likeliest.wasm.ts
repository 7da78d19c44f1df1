import { exp, exp1 } from "./math.wasm";
import { take } from "./team.wasm";

/** The words of an instruction, as backends/wasm/run-ahead.ts writes them. Addresses in bytes. */
@unmanaged
class Likeliest {
  opcode: i32;
  bytes: i32;
  rows: i32;
  cols: i32;
  /** (rows, cols) f32 */
  logits: usize;
  /** (rows) i32: the first of a row's largest logits; -1 where one is NaN or ∞, or none is above -∞. */
  ids: usize;
  /** (rows) f32: Σ e^(logit - largest) */
  sums: usize;
}

/** Logits whose powers are summed in f32 before they are added to the rest in f64. */
@inline const STRETCH: i32 = 1024;

export function likeliest(instruction: usize): void {
  const op = changetype<Likeliest>(instruction);
  for (let row = take(1); row < op.rows; row = take(1)) {
    const logits = op.logits + (<usize>row * op.cols << 2), at = <usize>row << 2;
    const largest = largestOf(logits, op.cols);
    const isOne = largest > -Infinity;
    store<i32>(op.ids + at, isOne ? placeOf(logits, op.cols, largest) : -1);
    store<f32>(op.sums + at, isOne ? sumOfPowers(logits, op.cols, largest) : 0);
  }
}

/** NaN where one of them is NaN or ∞. */
function largestOf(logits: usize, cols: i32): f32 {
  const infinity = f32x4.splat(Infinity);
  let most = f32x4.splat(-Infinity), isOrdered = i32x4.splat(-1);
  let col = 0;
  for (; col + 4 <= cols; col += 4) {
    const four = v128.load(logits + (<usize>col << 2));
    isOrdered = v128.and(isOrdered, f32x4.lt(four, infinity));
    most = f32x4.pmax(most, four);
  }
  let largest = max<f32>(
    max<f32>(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)),
    max<f32>(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)),
  );
  let isEach = i32x4.all_true(isOrdered);
  for (; col < cols; col++) {
    const one = load<f32>(logits + (<usize>col << 2));
    isEach = isEach && one < Infinity;
    largest = max<f32>(largest, one);
  }
  return isEach ? largest : NaN;
}

function placeOf(logits: usize, cols: i32, value: f32): i32 {
  const values = f32x4.splat(value);
  let col = 0;
  while (col + 4 <= cols && !v128.any_true(f32x4.eq(v128.load(logits + (<usize>col << 2)), values))) col += 4;
  while (load<f32>(logits + (<usize>col << 2)) != value) col++;
  return col;
}

function sumOfPowers(logits: usize, cols: i32, largest: f32): f32 {
  const from = f32x4.splat(largest);
  let sum: f64 = 0;
  let col = 0;
  while (col + 4 <= cols) {
    let some = f32x4.splat(0);
    for (const end = min(col + STRETCH, cols) - 3; col < end; col += 4) {
      some = f32x4.add(some, exp(f32x4.sub(v128.load(logits + (<usize>col << 2)), from)));
    }
    sum += <f64>f32x4.extract_lane(some, 0) + <f64>f32x4.extract_lane(some, 1);
    sum += <f64>f32x4.extract_lane(some, 2) + <f64>f32x4.extract_lane(some, 3);
  }
  for (; col < cols; col++) sum += <f64>exp1(load<f32>(logits + (<usize>col << 2)) - largest);
  return <f32>sum;
}
