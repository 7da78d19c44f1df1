// gated_rms_norm: g = x · silu(z); y = g / sqrt(mean over the group(g²) + eps) · weight
// Source:   Mamba-2 (arXiv:2405.21060) §7.1; transformers MambaRMSNormGated.
// Grid:     one workgroup a row and group; its TEAM * TEAMS threads stride over the group's columns.
// Numerics: sum of squares in f32, in a fixed order; g is computed twice rather than stored.
override GROUP_SIZE: u32;
override GROUPS: u32;

struct Params {
  rows: u32,
  x_offset: u32,
  x_stride: u32,
  z_offset: u32,
  z_stride: u32,
  y_offset: u32,
  y_stride: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;  // x, z, y: (rows, dInner)
@group(0) @binding(2) var<storage, read> weight: array<f32>;       // (dInner)

@compute @workgroup_size(TEAM * TEAMS)
fn gated_rms_norm(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid);
  let first = (index % GROUPS) * GROUP_SIZE;
  // Beyond the last row a workgroup repeats that row and writes nothing: it must reach the barriers.
  let row = min(index / GROUPS, params.rows - 1u);
  let x = params.x_offset + row * params.x_stride + first;
  let z = params.z_offset + row * params.z_stride + first;
  let y = params.y_offset + row * params.y_stride + first;
  var squares = 0.0;
  for (var i = thread; i < GROUP_SIZE; i += TEAM * TEAMS) {
    let gated = arena[x + i] * silu(arena[z + i]);
    squares += gated * gated;
  }
  let scale = 1.0 / sqrt(group_sum(squares, thread) / f32(GROUP_SIZE) + params.eps);
  if (index < params.rows * GROUPS) {
    for (var i = thread; i < GROUP_SIZE; i += TEAM * TEAMS) {
      arena[y + i] = arena[x + i] * silu(arena[z + i]) * scale * weight[first + i];
    }
  }
}
