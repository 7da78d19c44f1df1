// rms_norm: y[t, i] = x[t, i] / sqrt(mean_i(x[t, i]²) + eps) · weight[i]
// Source:   Zhang & Sennrich 2019 (arXiv:1910.07467).
// Grid:     one workgroup a row t; its TEAM * TEAMS threads stride over d_model.
// Numerics: sum of squares in f32, in a fixed order.
override D_MODEL: u32;

struct Params {
  rows: u32,
  x_offset: u32,
  x_stride: u32,
  y_offset: u32,
  y_stride: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;  // x, y: (rows, dModel)
@group(0) @binding(2) var<storage, read> weight: array<f32>;       // (dModel)

@compute @workgroup_size(TEAM * TEAMS)
fn rms_norm(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = workgroup_index(workgroup, grid);
  // Beyond the last row a workgroup repeats that row and writes nothing: it must reach the barriers.
  let x = params.x_offset + min(row, params.rows - 1u) * params.x_stride;
  let y = params.y_offset + row * params.y_stride;
  var squares = 0.0;
  for (var i = thread; i < D_MODEL; i += TEAM * TEAMS) {
    let value = arena[x + i];
    squares += value * value;
  }
  let scale = 1.0 / sqrt(group_sum(squares, thread) / f32(D_MODEL) + params.eps);
  if (row < params.rows) {
    for (var i = thread; i < D_MODEL; i += TEAM * TEAMS) {
      arena[y + i] = arena[x + i] * scale * weight[i];
    }
  }
}
