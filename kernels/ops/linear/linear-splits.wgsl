// linear_splits: y = Σ splits + bias + residual, behind a product whose columns were divided (linear-matrix.wgsl).
// Grid:     a thread four neighbours of a row.
// Numerics: f32, in the order of the splits.
// The arena is declared by arena-vectors.wgsl or arena-scalars.wgsl.
struct Params {
  rows: u32,
  part_rows: u32,  // of W, in this part
  first_row: u32,
  splits: u32,
  sums_offset: u32,  // scratch: (splits, rows, sums_stride)
  sums_stride: u32,
  y_offset: u32,
  y_stride: u32,
  residual_offset: u32,
  residual_stride: u32,
  has_bias: u32,
  has_residual: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> bias: array<f32>;  // (R)

@compute @workgroup_size(64)
fn linear_splits(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let quads = (params.part_rows + 3u) / 4u;
  let index = workgroup_index(workgroup, grid) * 64u + thread;
  let row = index / quads;
  if (row >= params.rows) {
    return;
  }
  let col = index % quads * 4u;
  let out = params.first_row + col;
  let count = min(4u, params.part_rows - col);
  var four = vec4<f32>();
  for (var split = 0u; split < params.splits; split += 1u) {
    four += bitcast<vec4<f32>>(arena_four(params.sums_offset + (split * params.rows + row) * params.sums_stride + col));
  }
  if (params.has_bias == 1u) {
    for (var i = 0u; i < count; i += 1u) {
      four[i] += bias[out + i];
    }
  }
  if (params.has_residual == 1u) {
    four += bitcast<vec4<f32>>(arena_four(params.residual_offset + row * params.residual_stride + out));
  }
  keep_four(params.y_offset + row * params.y_stride + out, four, count);
}
