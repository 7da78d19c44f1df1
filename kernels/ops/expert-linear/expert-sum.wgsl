// expert_sum: y = residual + Σ_j weights_j p_j, after expert-tiled.wgsl.
// Source:   Shazeer et al. 2017 (arXiv:1701.06538) eq. 1.
// Grid:     a thread a value of y.
// Numerics: f32, in the order of j.
struct Params {
  rows: u32,
  outputs: u32,
  top_k: u32,
  products_offset: u32,  // (rows, topK * R)
  weights_offset: u32,
  weights_stride: u32,
  residual_offset: u32,
  residual_stride: u32,
  has_residual: u32,
  y_offset: u32,
  y_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;

@compute @workgroup_size(64)
fn expert_sum(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid) * 64u + thread;
  let row = index / params.outputs;
  let output = index % params.outputs;
  if (row >= params.rows) {
    return;
  }
  var sum = 0.0;
  if (params.has_residual == 1u) {
    sum = arena[params.residual_offset + row * params.residual_stride + output];
  }
  for (var j = 0u; j < params.top_k; j += 1u) {
    let product = arena[params.products_offset + (row * params.top_k + j) * params.outputs + output];
    sum += arena[params.weights_offset + row * params.weights_stride + j] * product;
  }
  arena[params.y_offset + row * params.y_stride + output] = sum;
}
