// The power of two that brings a magnitude to 2^exponent … 2^(exponent + 1), so that it can be taken out of f16 factors; 1 for what
// has none: zeros, subnormals, infinities and NaNs. `bits` are those of an f32 without its sign.
fn power_for(bits: u32, exponent: u32) -> f32 {
  let own = (bits >> 23u) & 255u;
  if (own == 255u || own == 0u) {
    return 1.0;
  }
  return bitcast<f32>(clamp(254u + exponent - own, 1u, 254u) << 23u);
}
