// layer_norm: y = (x - mean) / sqrt(variance + eps) · weight + bias, mean and variance over each group of columns
// Source:   Ba et al. 2016 (arXiv:1607.06450); by groups Wu & He 2018 (arXiv:1803.08494).
// Grid:     one workgroup a row and group; its TEAM * TEAMS threads stride over the group's columns.
// Numerics: f32, in a fixed order; the variance in a second pass, so that a large mean does not cancel it.
struct Params {
  rows: u32,
  groups: u32,  // in a row
  group_size: u32,
  x_offset: u32,
  x_stride: u32,
  y_offset: u32,
  y_stride: u32,
  has_weight: u32,
  has_bias: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;  // x, y: (rows, groups * group_size)
@group(0) @binding(2) var<storage, read> weight: array<f32>;       // (groups * group_size)
@group(0) @binding(3) var<storage, read> bias: array<f32>;         // (groups * group_size)

@compute @workgroup_size(TEAM * TEAMS)
fn layer_norm(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid);
  let first = index % params.groups * params.group_size;
  // Beyond the last row a workgroup repeats that row and writes nothing: it must reach the barriers.
  let row = min(index / params.groups, params.rows - 1u);
  let x = params.x_offset + row * params.x_stride + first;
  let y = params.y_offset + row * params.y_stride + first;
  var sum = 0.0;
  for (var i = thread; i < params.group_size; i += TEAM * TEAMS) {
    sum += arena[x + i];
  }
  let mean = group_sum(sum, thread) / f32(params.group_size);
  var squares = 0.0;
  for (var i = thread; i < params.group_size; i += TEAM * TEAMS) {
    let centred = arena[x + i] - mean;
    squares += centred * centred;
  }
  let scale = 1.0 / sqrt(group_sum(squares, thread) / f32(params.group_size) + params.eps);
  if (index < params.rows * params.groups) {
    for (var i = thread; i < params.group_size; i += TEAM * TEAMS) {
      var value = (arena[x + i] - mean) * scale;
      if (params.has_weight == 1u) {
        value *= weight[first + i];
      }
      if (params.has_bias == 1u) {
        value += bias[first + i];
      }
      arena[y + i] = value;
    }
  }
}
