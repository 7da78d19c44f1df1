// The functions of spec/activations.ts, four values at a time, under the numbers of ACTIVATION_CODES.
import { exp, madd, silu, softplus } from "./math.wasm";

/** act(x). NaN stays NaN. */
export function activate(act: i32, x: v128): v128 {
  switch (act) {
    case 0: return x;
    case 1: return silu(x);
    case 2: return sigmoid(x);
    case 3: return softplus(x);
    case 4: return tanh(x);
    case 5: return exp(x);
    case 6: return relu(x);
    case 7: return square(relu(x));
    case 8: return gelu(x);
    case 9: return geluTanh(x);
    default: unreachable();
  }
  return x;
}

/** The same of one value, for the odd ones that do not fill a vector. */
export function activate1(act: i32, x: f32): f32 {
  return f32x4.extract_lane(activate(act, f32x4.splat(x)), 0);
}

@inline
function relu(x: v128): v128 {
  return f32x4.max(x, f32x4.splat(0));
}

@inline
function square(x: v128): v128 {
  return f32x4.mul(x, x);
}

/** 1 / (1 + e^−x) */
@inline
export function sigmoid(x: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.div(one, f32x4.add(one, exp(f32x4.neg(x))));
}

/**
 * Below 0.625 Cephes' odd polynomial, where 1 − e^−2|x| would cancel; beyond it (1 − u) / (1 + u), u = e^−2|x|, with x's sign.
 */
@inline
export function tanh(x: v128): v128 {
  const one = f32x4.splat(1);
  const size = f32x4.abs(x);
  const u = exp(f32x4.mul(size, f32x4.splat(-2)));
  const far = f32x4.div(f32x4.sub(one, u), f32x4.add(one, u));
  const z = f32x4.mul(x, x);
  let p = madd(f32x4.splat(-5.70498872745e-3), z, f32x4.splat(2.06390887954e-2));
  p = madd(p, z, f32x4.splat(-5.37397155531e-2));
  p = madd(p, z, f32x4.splat(1.33314422036e-1));
  p = madd(p, z, f32x4.splat(-3.33332819422e-1));
  const near = madd(f32x4.mul(p, z), x, x);
  const signed = v128.or(far, v128.and(x, f32x4.splat(-0.0)));
  return v128.bitselect(near, signed, f32x4.lt(size, f32x4.splat(0.625)));
}

/**
 * x Φ(x) = max(x, 0) − |x| Φ(−|x|), which does not cancel. Φ(−a) = erfc(a / √2) / 2 within 1e-7: Abramowitz & Stegun 1964, 7.1.26.
 */
@inline
function gelu(x: v128): v128 {
  const one = f32x4.splat(1);
  const size = f32x4.abs(x);
  // t = 1 / (1 + 0.3275911 |x| / √2)
  const t = f32x4.div(one, madd(size, f32x4.splat(0.23164189), one));
  let p = madd(f32x4.splat(1.061405429), t, f32x4.splat(-1.453152027));
  p = madd(p, t, f32x4.splat(1.421413741));
  p = madd(p, t, f32x4.splat(-0.284496736));
  p = madd(p, t, f32x4.splat(0.254829592));
  const tail = f32x4.mul(f32x4.mul(p, t), exp(f32x4.mul(square(x), f32x4.splat(-0.5))));
  return f32x4.sub(relu(x), f32x4.mul(f32x4.mul(size, f32x4.splat(0.5)), tail));
}

/** x σ(2u), u = √(2/π) (x + 0.044715 x³): the same as x (1 + tanh u) / 2. */
@inline
function geluTanh(x: v128): v128 {
  const one = f32x4.splat(1);
  const cubic = f32x4.mul(x, madd(square(x), f32x4.splat(0.0713548162726), f32x4.splat(1.5957691216057308)));
  return f32x4.div(x, f32x4.add(one, exp(f32x4.neg(cubic))));
}
