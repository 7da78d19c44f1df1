// What stands before a product, and how it becomes f16, for few-halves.wgsl and few-matrix.wgsl. With g = act(z) · x or x, and f
// and s as in prologue.wgsl, a row becomes p · f in f16, p a power of two so that no value is too large and the largest ones
// keep all their bits; its sums are to be multiplied by s / p. With PARTS 2 what rounding takes away is a second f16 (22 bits
// together).
const NONE = 0u;
const OF_X = 1u;
const OF_GATED = 2u;
override NORM: u32;
override GATED: u32;
override GATE_ACT: u32;
override HAS_NORM_WEIGHT: u32;

// f of four columns, and what they add to the sum of squares.
struct Factors {
  values: vec4<f32>,
  squares: f32,
}

// Of columns beyond the last, which may be anything, NaN too, f is 0.
fn factors_of(x: vec4<f32>, z: vec4<f32>, norm_weights: vec4<f32>, is_there: vec4<bool>) -> Factors {
  var g = x;
  if (GATED == 1u) {
    g *= vec4<f32>(
      activate(GATE_ACT, z.x),
      activate(GATE_ACT, z.y),
      activate(GATE_ACT, z.z),
      activate(GATE_ACT, z.w),
    );
  }
  let normed = select(vec4<f32>(), select(x, g, NORM == OF_GATED), is_there);
  if (HAS_NORM_WEIGHT == 1u) {
    g *= norm_weights;
  }
  return Factors(select(vec4<f32>(), g, is_there), dot(normed, normed));
}

// As bits: of numbers without a sign the larger has the larger bits, and infinities and NaNs come last.
fn magnitudes(values: vec4<f32>) -> vec4<u32> {
  return bitcast<vec4<u32>>(values) & vec4<u32>(0x7fffffffu);
}

fn most_in(magnitudes: vec4<u32>) -> u32 {
  return max(max(magnitudes.x, magnitudes.y), max(magnitudes.z, magnitudes.w));
}

// p: the power of two that brings the largest magnitude to 2^14 … 2^15; 1 for what has none.
fn scale_for(most: u32) -> f32 {
  return power_for(most, 14u);
}

// s / p
fn factor_for(scale: f32, squares: f32) -> f32 {
  var factor = 1.0 / scale;
  if (NORM != NONE) {
    factor /= sqrt(squares / params.divisor + params.eps);
  }
  return factor;
}

// Eight values as f16, and what that takes away from them as f16.
struct Rounded {
  first: vec4<u32>,
  second: vec4<u32>,
}

fn rounded(low: vec4<f32>, high: vec4<f32>) -> Rounded {
  let upper_low = upper(low);
  let upper_high = upper(high);
  return Rounded(
    vec4<u32>(packed(upper_low), packed(upper_high)),
    vec4<u32>(packed(low - upper_low), packed(high - upper_high)),
  );
}

// What the first of two f16 has. Cut off by its bits: a compiler may take unpacking what was packed for nothing at all.
fn upper(values: vec4<f32>) -> vec4<f32> {
  return select(values, bitcast<vec4<f32>>(bitcast<vec4<u32>>(values) & vec4<u32>(0xffffe000u)), PARTS == 2u);
}

fn packed(values: vec4<f32>) -> vec2<u32> {
  return vec2<u32>(pack2x16float(values.xy), pack2x16float(values.zw));
}
