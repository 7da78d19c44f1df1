// rms_norm: y[t, i] = x[t, i] / sqrt(Σ over i's group(x[t]²) / divisor + eps) · weight
// Source:   Zhang & Sennrich 2019 (arXiv:1910.07467).
// Grid:     one workgroup a row and group; its TEAM * TEAMS threads stride over the group's columns.
// Numerics: sum of squares in f32, in a fixed order.
struct Params {
  rows: u32,
  groups: u32,  // in a row
  group_size: u32,
  x_offset: u32,
  x_stride: u32,
  y_offset: u32,
  y_stride: u32,
  has_weight: u32,
  weight_step: u32,  // from one group's weights to the next's; 0 where all share them
  divisor: f32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;  // x, y: (rows, groups * group_size)
@group(0) @binding(2) var<storage, read> weight: array<f32>;       // (groups * group_size), or (group_size)

@compute @workgroup_size(TEAM * TEAMS)
fn rms_norm(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid);
  let group = index % params.groups;
  // Beyond the last row a workgroup repeats that row and writes nothing: it must reach the barriers.
  let row = min(index / params.groups, params.rows - 1u);
  let x = params.x_offset + row * params.x_stride + group * params.group_size;
  let y = params.y_offset + row * params.y_stride + group * params.group_size;
  var squares = 0.0;
  for (var i = thread; i < params.group_size; i += TEAM * TEAMS) {
    let value = arena[x + i];
    squares += value * value;
  }
  let scale = 1.0 / sqrt(group_sum(squares, thread) / params.divisor + params.eps);
  if (index < params.rows * params.groups) {
    for (var i = thread; i < params.group_size; i += TEAM * TEAMS) {
      var value = arena[x + i] * scale;
      if (params.has_weight == 1u) {
        value *= weight[group * params.weight_step + i];
      }
      arena[y + i] = value;
    }
  }
}
