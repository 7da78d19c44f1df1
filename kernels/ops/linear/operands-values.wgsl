// Operands of linear.wgsl read one by one, wherever they lie. What lies beyond K may be anything, NaN too, and is read as 0.
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;      // x, z: (rows, K); y, residual: (rows, R)
@group(0) @binding(5) var<storage, read> norm_weight: array<f32>;      // (K)

fn arena_at(at: u32) -> f32 {
  return arena[at];
}

fn arena_put(at: u32, value: f32) {
  arena[at] = value;
}

// Values k … k + 3 of the row that starts at `first`.
fn four_of_row(first: u32, k: u32) -> vec4<f32> {
  let at = first + k;
  return vec4<f32>(
    select(0.0, arena[at], k < params.k),
    select(0.0, arena[at + 1u], k + 1u < params.k),
    select(0.0, arena[at + 2u], k + 2u < params.k),
    select(0.0, arena[at + 3u], k + 3u < params.k),
  );
}

fn four_norm_weights(k: u32) -> vec4<f32> {
  return vec4<f32>(
    select(0.0, norm_weight[k], k < params.k),
    select(0.0, norm_weight[k + 1u], k + 1u < params.k),
    select(0.0, norm_weight[k + 2u], k + 2u < params.k),
    select(0.0, norm_weight[k + 3u], k + 3u < params.k),
  );
}
