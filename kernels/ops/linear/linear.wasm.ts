import { madd } from "../../wasm/math.wasm";
import { grainOf, scratch, take } from "../../wasm/team.wasm";
import { Q8_0 } from "./bit-fields.wasm";
import { linearRounded } from "./linear-rounded.wasm";
import { finish, Linear } from "./operands.wasm";
import { BF16, expandGroup, F32, GROUP, groupBytes, highBf16, highF16, lowBf16, lowF16 } from "./packed.wasm";

export function linear(instruction: usize): void {
  const op = changetype<Linear>(instruction);
  if (op.dtype >= Q8_0) linearRounded(op);
  else linearFloat(op);
}

// ---- f32, f16, bf16: f32 products -----------------------------------------------------------------------------------

function linearFloat(op: Linear): void {
  const groups = (op.outputs + GROUP - 1) / GROUP;
  const grain = grainOf(groups, 8);
  const size = groupBytes(op.dtype, op.cols);
  for (let first = take(grain); first < groups; first = take(grain)) {
    const end = min(first + grain, groups);
    for (let group = first; group < end; group++) {
      let weight = op.weight + <usize>group * size;
      if (op.dtype != F32 && op.rows == 1) {
        oneRowNarrow(op, weight, group * GROUP);
        continue;
      }
      if (op.dtype != F32) {
        expandGroup(weight, op.dtype, op.cols, scratch());
        weight = scratch();
      }
      let row = 0;
      for (; row + 4 <= op.rows; row += 4) fourRows(op, weight, row, group * GROUP);
      for (; row < op.rows; row++) oneRow(op, weight, row, group * GROUP);
    }
  }
}

/** 8 outputs of 4 rows. */
function fourRows(op: Linear, weight: usize, row: i32, output: i32): void {
  const stride = <usize>op.xStride << 2;
  let p0 = op.x + <usize>row * stride;
  let p1 = p0 + stride, p2 = p1 + stride, p3 = p2 + stride;
  let a0 = f32x4.splat(0);
  let a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  for (const end = p0 + (<usize>op.cols << 2); p0 < end; p0 += 4) {
    const low = v128.load(weight), high = v128.load(weight, 16);
    let u = v128.load32_splat(p0);
    a0 = madd(low, u, a0);
    b0 = madd(high, u, b0);
    u = v128.load32_splat(p1);
    a1 = madd(low, u, a1);
    b1 = madd(high, u, b1);
    u = v128.load32_splat(p2);
    a2 = madd(low, u, a2);
    b2 = madd(high, u, b2);
    u = v128.load32_splat(p3);
    a3 = madd(low, u, a3);
    b3 = madd(high, u, b3);
    p1 += 4;
    p2 += 4;
    p3 += 4;
    weight += 32;
  }
  finish(op, row, output, a0, b0);
  finish(op, row + 1, output, a1, b1);
  finish(op, row + 2, output, a2, b2);
  finish(op, row + 3, output, a3, b3);
}

/** 8 outputs of one row; four columns at once hide the latency of the multiply-adds. */
function oneRow(op: Linear, weight: usize, row: i32, output: i32): void {
  let p = op.x + (<usize>row * op.xStride << 2);
  let a0 = f32x4.splat(0);
  let a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  let k = 0;
  for (; k + 4 <= op.cols; k += 4) {
    let u = v128.load32_splat(p);
    a0 = madd(v128.load(weight), u, a0);
    b0 = madd(v128.load(weight, 16), u, b0);
    u = v128.load32_splat(p, 4);
    a1 = madd(v128.load(weight, 32), u, a1);
    b1 = madd(v128.load(weight, 48), u, b1);
    u = v128.load32_splat(p, 8);
    a2 = madd(v128.load(weight, 64), u, a2);
    b2 = madd(v128.load(weight, 80), u, b2);
    u = v128.load32_splat(p, 12);
    a3 = madd(v128.load(weight, 96), u, a3);
    b3 = madd(v128.load(weight, 112), u, b3);
    p += 16;
    weight += 128;
  }
  for (; k < op.cols; k++) {
    const u = v128.load32_splat(p);
    a0 = madd(v128.load(weight), u, a0);
    b0 = madd(v128.load(weight, 16), u, b0);
    p += 4;
    weight += 32;
  }
  finish(op, row, output, f32x4.add(f32x4.add(a0, a1), f32x4.add(a2, a3)), f32x4.add(f32x4.add(b0, b1), f32x4.add(b2, b3)));
}

/** 8 outputs of the only row, from f16 or bf16 as they lie: decode reads each weight once. */
function oneRowNarrow(op: Linear, weight: usize, output: i32): void {
  let p = op.x;
  let a0 = f32x4.splat(0);
  let a1 = a0, b0 = a0, b1 = a0;
  let k = 0;
  if (op.dtype == BF16) {
    for (; k + 2 <= op.cols; k += 2) {
      let bits = v128.load(weight), u = v128.load32_splat(p);
      a0 = madd(lowBf16(bits), u, a0);
      b0 = madd(highBf16(bits), u, b0);
      bits = v128.load(weight, 16);
      u = v128.load32_splat(p, 4);
      a1 = madd(lowBf16(bits), u, a1);
      b1 = madd(highBf16(bits), u, b1);
      p += 8;
      weight += 32;
    }
    if (k < op.cols) {
      const bits = v128.load(weight), u = v128.load32_splat(p);
      a0 = madd(lowBf16(bits), u, a0);
      b0 = madd(highBf16(bits), u, b0);
    }
  } else {
    for (; k + 2 <= op.cols; k += 2) {
      let bits = v128.load(weight), u = v128.load32_splat(p);
      a0 = madd(lowF16(bits), u, a0);
      b0 = madd(highF16(bits), u, b0);
      bits = v128.load(weight, 16);
      u = v128.load32_splat(p, 4);
      a1 = madd(lowF16(bits), u, a1);
      b1 = madd(highF16(bits), u, b1);
      p += 8;
      weight += 32;
    }
    if (k < op.cols) {
      const bits = v128.load(weight), u = v128.load32_splat(p);
      a0 = madd(lowF16(bits), u, a0);
      b0 = madd(highF16(bits), u, b0);
    }
  }
  finish(op, 0, output, f32x4.add(a0, a1), f32x4.add(b0, b1));
}
