// gate: y[t, i] = act(a[t, ⌊i / repeat⌋]) · b[t, i]
// Source:   Shazeer 2020 (arXiv:2002.05202).
// Grid:     a thread a value, workgroups of 64 along a row, folded.
// Numerics: f32; y may be b, and a where repeat is 1.
struct Params {
  rows: u32,
  cols: u32,
  repeat: u32,
  act: u32,
  a_offset: u32,
  a_stride: u32,
  b_offset: u32,
  b_stride: u32,
  y_offset: u32,
  y_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;  // a: (rows, cols / repeat); b, y: (rows, cols)

@compute @workgroup_size(64)
fn gate(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = place_of(workgroup_index(workgroup, grid), thread, params.cols);
  if (at.row >= params.rows || at.col >= params.cols) {
    return;
  }
  let a = arena[params.a_offset + at.row * params.a_stride + at.col / params.repeat];
  let b = arena[params.b_offset + at.row * params.b_stride + at.col];
  arena[params.y_offset + at.row * params.y_stride + at.col] = activate(params.act, a) * b;
}
