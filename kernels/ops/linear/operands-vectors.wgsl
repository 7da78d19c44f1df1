// Operands of linear.wgsl read by 16 bytes: every row starts at a multiple of 4 values, and W's columns fill its vectors.
@group(0) @binding(1) var<storage, read_write> arena: array<vec4<f32>>;      // x, z: (rows, K); y, residual: (rows, R)
@group(0) @binding(5) var<storage, read> norm_weight: array<vec4<f32>>;      // (K)

fn arena_at(at: u32) -> f32 {
  return arena[at / 4u][at % 4u];
}

fn arena_put(at: u32, value: f32) {
  arena[at / 4u][at % 4u] = value;
}

// Values k … k + 3 of the row that starts at `first`.
fn four_of_row(first: u32, k: u32) -> vec4<f32> {
  return arena[(first + k) / 4u];
}

fn four_norm_weights(k: u32) -> vec4<f32> {
  return norm_weight[k / 4u];
}
