// f32 matrix products of panels: operands that were laid out as the product reads them, six rows of a at once with eight columns of
// b. Twelve sums hide the latency of the multiply-adds, and with two vectors of b and one of a fill the registers.
//
//   a    [k][6 rows]
//   b    [k][8 columns]
//   out  [6 rows][8 columns]
import { madd } from "./math.wasm";

/** Rows of a, and of out. */
@inline export const ROWS: i32 = 6;

/** Columns of b, and of out. */
@inline export const COLUMNS: i32 = 8;

/** Bytes of a for one k. */
@inline export const LINE: usize = 24;

/** Bytes of out. */
@inline export const OUT_BYTES: usize = 192;

/** out = Σ_k a[k] ⊗ b[k] */
export function multiplyPanels(a: usize, b: usize, count: i32, out: usize): void {
  let l0 = f32x4.splat(0), h0 = l0;
  let l1 = l0, h1 = l0;
  let l2 = l0, h2 = l0;
  let l3 = l0, h3 = l0;
  let l4 = l0, h4 = l0;
  let l5 = l0, h5 = l0;
  for (let k = 0; k < count; k++) {
    const low = v128.load(b), high = v128.load(b, 16);
    let u = v128.load32_splat(a);
    l0 = madd(low, u, l0);
    h0 = madd(high, u, h0);
    u = v128.load32_splat(a, 4);
    l1 = madd(low, u, l1);
    h1 = madd(high, u, h1);
    u = v128.load32_splat(a, 8);
    l2 = madd(low, u, l2);
    h2 = madd(high, u, h2);
    u = v128.load32_splat(a, 12);
    l3 = madd(low, u, l3);
    h3 = madd(high, u, h3);
    u = v128.load32_splat(a, 16);
    l4 = madd(low, u, l4);
    h4 = madd(high, u, h4);
    u = v128.load32_splat(a, 20);
    l5 = madd(low, u, l5);
    h5 = madd(high, u, h5);
    a += LINE;
    b += 32;
  }
  v128.store(out, l0);
  v128.store(out, h0, 16);
  v128.store(out, l1, 32);
  v128.store(out, h1, 48);
  v128.store(out, l2, 64);
  v128.store(out, h2, 80);
  v128.store(out, l3, 96);
  v128.store(out, h3, 112);
  v128.store(out, l4, 128);
  v128.store(out, h4, 144);
  v128.store(out, l5, 160);
  v128.store(out, h5, 176);
}

/** out = factor of the row · out + Σ_k a[k] ⊗ b[k]; six factors */
export function addPanels(factors: usize, a: usize, b: usize, count: i32, out: usize): void {
  const f0 = v128.load32_splat(factors);
  let l0 = f32x4.mul(f0, v128.load(out)), h0 = f32x4.mul(f0, v128.load(out, 16));
  const f1 = v128.load32_splat(factors, 4);
  let l1 = f32x4.mul(f1, v128.load(out, 32)), h1 = f32x4.mul(f1, v128.load(out, 48));
  const f2 = v128.load32_splat(factors, 8);
  let l2 = f32x4.mul(f2, v128.load(out, 64)), h2 = f32x4.mul(f2, v128.load(out, 80));
  const f3 = v128.load32_splat(factors, 12);
  let l3 = f32x4.mul(f3, v128.load(out, 96)), h3 = f32x4.mul(f3, v128.load(out, 112));
  const f4 = v128.load32_splat(factors, 16);
  let l4 = f32x4.mul(f4, v128.load(out, 128)), h4 = f32x4.mul(f4, v128.load(out, 144));
  const f5 = v128.load32_splat(factors, 20);
  let l5 = f32x4.mul(f5, v128.load(out, 160)), h5 = f32x4.mul(f5, v128.load(out, 176));
  for (let k = 0; k < count; k++) {
    const low = v128.load(b), high = v128.load(b, 16);
    let u = v128.load32_splat(a);
    l0 = madd(low, u, l0);
    h0 = madd(high, u, h0);
    u = v128.load32_splat(a, 4);
    l1 = madd(low, u, l1);
    h1 = madd(high, u, h1);
    u = v128.load32_splat(a, 8);
    l2 = madd(low, u, l2);
    h2 = madd(high, u, h2);
    u = v128.load32_splat(a, 12);
    l3 = madd(low, u, l3);
    h3 = madd(high, u, h3);
    u = v128.load32_splat(a, 16);
    l4 = madd(low, u, l4);
    h4 = madd(high, u, h4);
    u = v128.load32_splat(a, 20);
    l5 = madd(low, u, l5);
    h5 = madd(high, u, h5);
    a += LINE;
    b += 32;
  }
  v128.store(out, l0);
  v128.store(out, h0, 16);
  v128.store(out, l1, 32);
  v128.store(out, h1, 48);
  v128.store(out, l2, 64);
  v128.store(out, h2, 80);
  v128.store(out, l3, 96);
  v128.store(out, h3, 112);
  v128.store(out, l4, 128);
  v128.store(out, h4, 144);
  v128.store(out, l5, 160);
  v128.store(out, h5, 176);
}
