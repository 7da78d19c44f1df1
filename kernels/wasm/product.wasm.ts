// A piece of an f32 matrix product, in registers.
import { madd } from "./math.wasm";

/** out[i, 0…7] += Σ_k a[i, k] · b[k, 0…7] for `rows` ≤ 4 rows; aRow, aStep, bStep and outRow are bytes. */
export function accumulate(
  rows: i32, a: usize, aRow: usize, aStep: usize, b: usize, bStep: usize, count: i32, out: usize, outRow: usize,
): void {
  if (rows < 4) {
    for (let i = 0; i < rows; i++) accumulateOne(a + <usize>i * aRow, aStep, b, bStep, count, out + <usize>i * outRow);
    return;
  }
  let a1 = a + aRow, a2 = a1 + aRow, a3 = a2 + aRow;
  const o1 = out + outRow, o2 = o1 + outRow, o3 = o2 + outRow;
  let l0 = v128.load(out), l1 = v128.load(o1), l2 = v128.load(o2), l3 = v128.load(o3);
  let h0 = v128.load(out, 16), h1 = v128.load(o1, 16), h2 = v128.load(o2, 16), h3 = v128.load(o3, 16);
  for (let k = 0; k < count; k++) {
    const low = v128.load(b), high = v128.load(b, 16);
    let u = v128.load32_splat(a);
    l0 = madd(low, u, l0);
    h0 = madd(high, u, h0);
    u = v128.load32_splat(a1);
    l1 = madd(low, u, l1);
    h1 = madd(high, u, h1);
    u = v128.load32_splat(a2);
    l2 = madd(low, u, l2);
    h2 = madd(high, u, h2);
    u = v128.load32_splat(a3);
    l3 = madd(low, u, l3);
    h3 = madd(high, u, h3);
    a += aStep;
    a1 += aStep;
    a2 += aStep;
    a3 += aStep;
    b += bStep;
  }
  v128.store(out, l0);
  v128.store(out, h0, 16);
  v128.store(o1, l1);
  v128.store(o1, h1, 16);
  v128.store(o2, l2);
  v128.store(o2, h2, 16);
  v128.store(o3, l3);
  v128.store(o3, h3, 16);
}

function accumulateOne(a: usize, aStep: usize, b: usize, bStep: usize, count: i32, out: usize): void {
  let low = v128.load(out), high = v128.load(out, 16);
  for (let k = 0; k < count; k++) {
    const u = v128.load32_splat(a);
    low = madd(v128.load(b), u, low);
    high = madd(v128.load(b, 16), u, high);
    a += aStep;
    b += bStep;
  }
  v128.store(out, low);
  v128.store(out, high, 16);
}
