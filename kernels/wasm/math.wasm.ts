// Vector arithmetic that several ops share. AssemblyScript, inlined into their loops.

/** a * b + c; one rounding where relaxed SIMD is compiled in and the CPU has it, else two. */
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

@inline
export function horizontalSum(v: v128): f32 {
  const pairs = f32x4.add(v, v128.shuffle<f32>(v, v, 2, 3, 0, 1));
  return f32x4.extract_lane(pairs, 0) + f32x4.extract_lane(pairs, 1);
}

/** Lane i is the sum of the four lanes of the i-th argument. */
@inline
export function horizontalSums(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<f32>(c, d, 0, 4, 1, 5), v128.shuffle<f32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<f32>(ab, cd, 0, 1, 4, 5), v128.shuffle<f32>(ab, cd, 2, 3, 6, 7));
}

// Constants of inner loops. V8 builds a v128.const anew wherever it is used, three instructions on x64 of which two need
// the one shuffle port; a global that is assigned is one load.
let lowest: v128 = i32x4.splat(0);
let highest: v128 = i32x4.splat(0);
let log2E: v128 = i32x4.splat(0);
let magic: v128 = i32x4.splat(0);
let ln2High: v128 = i32x4.splat(0);
let ln2Low: v128 = i32x4.splat(0);
let p5: v128 = i32x4.splat(0);
let p4: v128 = i32x4.splat(0);
let p3: v128 = i32x4.splat(0);
let p2: v128 = i32x4.splat(0);
let p1: v128 = i32x4.splat(0);
let p0: v128 = i32x4.splat(0);
let one: v128 = i32x4.splat(0);
let leastPower: v128 = i32x4.splat(0);
let mostPower: v128 = i32x4.splat(0);
let q4: v128 = i32x4.splat(0);
let q3: v128 = i32x4.splat(0);
let q2: v128 = i32x4.splat(0);
let q1: v128 = i32x4.splat(0);
let q0: v128 = i32x4.splat(0);
let minusLog2E: v128 = i32x4.splat(0);
let zero: v128 = i32x4.splat(0);
let two: v128 = i32x4.splat(0);
let s6: v128 = i32x4.splat(0);
let s5: v128 = i32x4.splat(0);
let s4: v128 = i32x4.splat(0);
let s3: v128 = i32x4.splat(0);
let s2: v128 = i32x4.splat(0);
let s1: v128 = i32x4.splat(0);
let s0: v128 = i32x4.splat(0);

@inline export const LOG2_E: f32 = 1.44269504088896341;

/** Sets the constants; every thread calls it once, before all else. */
export function prepareMath(): void {
  lowest = f32x4.splat(-87.33654);
  highest = f32x4.splat(88.8);
  log2E = f32x4.splat(1.44269504088896341);
  magic = f32x4.splat(12582912);
  ln2High = f32x4.splat(-0.693359375);
  ln2Low = f32x4.splat(2.12194440e-4);
  p5 = f32x4.splat(1.9875691500e-4);
  p4 = f32x4.splat(1.3981999507e-3);
  p3 = f32x4.splat(8.3334519073e-3);
  p2 = f32x4.splat(4.1665795894e-2);
  p1 = f32x4.splat(1.6666665459e-1);
  p0 = f32x4.splat(5.0000001201e-1);
  one = f32x4.splat(1);
  leastPower = f32x4.splat(-126);
  mostPower = f32x4.splat(128);
  q4 = f32x4.splat(1.3264727e-3);
  q3 = f32x4.splat(9.671513e-3);
  q2 = f32x4.splat(5.5507336e-2);
  q1 = f32x4.splat(2.4022242e-1);
  q0 = f32x4.splat(6.931470e-1);
  minusLog2E = f32x4.splat(-LOG2_E);
  two = f32x4.splat(2);
  s6 = f32x4.splat(2.0 / 15.0);
  s5 = f32x4.splat(2.0 / 13.0);
  s4 = f32x4.splat(2.0 / 11.0);
  s3 = f32x4.splat(2.0 / 9.0);
  s2 = f32x4.splat(2.0 / 7.0);
  s1 = f32x4.splat(2.0 / 5.0);
  s0 = f32x4.splat(2.0 / 3.0);
}

/**
 * e^x within 2 ulp; 0 below −87.3, Infinity above 88.4, NaN stays NaN. x = n ln 2 + r with |r| ≤ ln 2 / 2, then the
 * degree-7 minimax polynomial of Cephes' expf. Adding 1.5 · 2^23 rounds to an integer and leaves it in the low bits.
 */
@inline
export function exp(x: v128): v128 {
  // pmax and pmin in this order keep a NaN and are one instruction each on x64.
  const clamped = f32x4.pmin(f32x4.pmax(x, lowest), highest);
  const shifted = madd(clamped, log2E, magic);
  const n = f32x4.sub(shifted, magic);
  let r = madd(n, ln2High, clamped);
  r = madd(n, ln2Low, r);
  let p = madd(p5, r, p4);
  p = madd(p, r, p3);
  p = madd(p, r, p2);
  p = madd(p, r, p1);
  p = madd(p, r, p0);
  p = f32x4.add(madd(p, f32x4.mul(r, r), r), one);
  // 2^n: its exponent is n + 127, that of 1 being 127.
  const power = i32x4.add(i32x4.shl(shifted, 23), one);
  return v128.andnot(f32x4.mul(p, power), f32x4.lt(x, lowest));
}

/**
 * 2^x within 1.4 ulp; 2^−126 below −126, Infinity from 128 on, NaN stays NaN. x = n + f with |f| ≤ 1/2, and 1 + f q(f) with
 * a minimax q of degree 4: exact at 0, as decays near 1 are multiplied thousands of times. A third fewer steps than `exp`.
 */
@inline
export function exp2(x: v128): v128 {
  const clamped = f32x4.pmin(f32x4.pmax(x, leastPower), mostPower);
  const shifted = f32x4.add(clamped, magic);
  const f = f32x4.sub(clamped, f32x4.sub(shifted, magic));
  let p = madd(q4, f, q3);
  p = madd(p, f, q2);
  p = madd(p, f, q1);
  p = madd(p, f, q0);
  p = madd(p, f, one);
  return i32x4.add(p, i32x4.shl(shifted, 23));
}

/** x · σ(x), within 1.2e-7 · max(|x|, 1): where e^−x as a power of 2 is least exact, it counts least. */
@inline
export function silu(x: v128): v128 {
  return f32x4.div(x, f32x4.add(one, exp2(f32x4.mul(x, minusLog2E))));
}

/** ln(1 + e^x) = max(x, 0) + ln(1 + u), u = e^−|x|; ln(1 + u) = 2 artanh(u / (2 + u)) by its series, exact for small u. */
@inline
export function softplus(x: v128): v128 {
  const u = exp(f32x4.neg(f32x4.abs(x)));
  const s = f32x4.div(u, f32x4.add(u, two));
  const z = f32x4.mul(s, s);
  let p = madd(s6, z, s5);
  p = madd(p, z, s4);
  p = madd(p, z, s3);
  p = madd(p, z, s2);
  p = madd(p, z, s1);
  p = madd(p, z, s0);
  p = madd(p, z, two);
  return madd(p, s, f32x4.pmax(x, zero));
}

/** The same functions for the odd values that do not fill a vector. */
export function exp1(x: f32): f32 {
  return f32x4.extract_lane(exp(f32x4.splat(x)), 0);
}

export function silu1(x: f32): f32 {
  return f32x4.extract_lane(silu(f32x4.splat(x)), 0);
}

export function softplus1(x: f32): f32 {
  return f32x4.extract_lane(softplus(f32x4.splat(x)), 0);
}
