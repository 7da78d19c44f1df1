// What few-matrix.wgsl has in place of few-halves.wgsl where x is small and nothing gates it: each workgroup makes it ready for
// itself, which costs a dispatch less. Places and columns are whole vectors here. The statements that use this are written
// out by few-matrix.ts.
@group(0) @binding(5) var<storage, read> norm_weight: array<vec4<f32>>;  // (K)

// p and s / p of each row.
var<workgroup> scales_of_rows: array<f32, 16>;
var<workgroup> factors_of_rows: array<f32, 16>;

struct Eight {
  low: vec4<f32>,
  high: vec4<f32>,
}

// x, columns k … k + 3 of a row.
fn x_four_at(row: u32, k: u32) -> vec4<f32> {
  return bitcast<vec4<f32>>(arena[(params.x_offset + row * params.x_stride + k) / 4u]);
}

fn x_eight_at(row: u32, k: u32) -> Eight {
  return Eight(x_four_at(row, k), x_four_at(row, k + 4u));
}

fn norm_four_at(k: u32) -> vec4<f32> {
  if (HAS_NORM_WEIGHT == 1u) {
    return norm_weight[k / 4u];
  }
  return vec4<f32>();
}

fn norm_eight_at(k: u32) -> Eight {
  return Eight(norm_four_at(k), norm_four_at(k + 4u));
}

// f of columns k … k + 3.
fn ready_four(x: vec4<f32>, norm_weights: vec4<f32>, k: u32) -> Factors {
  return factors_of(x, vec4<f32>(), norm_weights, vec4<bool>(k < params.k));
}

// p · f of columns k … k + 7 of a row.
fn ready_eight(row: u32, x: Eight, norm_weights: Eight, k: u32) -> Rounded {
  let scale = scales_of_rows[row];
  let low = ready_four(x.low, norm_weights.low, k);
  let high = ready_four(x.high, norm_weights.high, k);
  return rounded(scale * low.values, scale * high.values);
}

fn keep_row(row: u32, most: u32, squares: f32) {
  let scale = scale_for(most);
  scales_of_rows[row] = scale;
  factors_of_rows[row] = factor_for(scale, squares);
}
