// What is multiplied by W: y = s · (f Wᵀ), so that a norm needs no pass of its own over x. With g = act(z) · x or x:
//   NONE      f = g, s = 1
//   OF_X      f = g · norm_weight, s = 1 / sqrt(Σ x² / divisor + eps): a gate of the norm of x
//   OF_GATED  f = g · norm_weight, s = 1 / sqrt(Σ g² / divisor + eps): a norm of the gated x
// Only for one row of x are squares summed; each team sums its own part of the columns.
const NONE = 0u;
const OF_X = 1u;
const OF_GATED = 2u;
override NORM: u32;
override GATED: u32;
override GATE_ACT: u32;
override HAS_NORM_WEIGHT: u32;

var<private> squares_of_lane: f32 = 0.0;

// Factors k … k + 3 of row `row`.
fn factors(row: u32, k: u32) -> vec4<f32> {
  let at = min(row, params.rows - 1u);
  let x = four_of_row(params.x_offset + at * params.x_stride, k);
  var g = x;
  if (GATED == 1u) {
    let z = four_of_row(params.z_offset + at * params.z_stride, k);
    g *= vec4<f32>(
      activate(GATE_ACT, z.x),
      activate(GATE_ACT, z.y),
      activate(GATE_ACT, z.z),
      activate(GATE_ACT, z.w),
    );
  }
  if (NORM == OF_X) {
    squares_of_lane += dot(x, x);
  }
  if (NORM == OF_GATED) {
    squares_of_lane += dot(g, g);
  }
  if (HAS_NORM_WEIGHT == 1u) {
    g *= four_norm_weights(k);
  }
  return g;
}
