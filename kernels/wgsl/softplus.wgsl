// softplus(x) = ln(1 + exp(x)); silu(x) = x / (1 + exp(-x)).
// Numerics: beyond 20, ln(1 + exp(x)) = x in f32, and exp would overflow at 89. Below -8, ln(1 + e) = e - e²/2 in f32,
// where 1 + e would have rounded e's bits away.
fn softplus(x: f32) -> f32 {
  if (x > 20.0) {
    return x;
  }
  let e = exp(x);
  return select(log(1.0 + e), e - 0.5 * e * e, x < -8.0);
}

fn silu(x: f32) -> f32 {
  // exp(-x) is kept finite: WGSL promises nothing about infinity.
  return x / (1.0 + exp(min(-x, 88.0)));
}
