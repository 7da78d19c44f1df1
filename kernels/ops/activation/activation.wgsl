// activation: y = gain · act(scale · x + bias)
// Grid:     a thread a value, workgroups of 64 along a row, folded.
// Numerics: f32; x may be y.
struct Params {
  rows: u32,
  cols: u32,
  x_offset: u32,
  x_stride: u32,
  y_offset: u32,
  y_stride: u32,
  act: u32,
  scale: f32,
  gain: f32,
  has_bias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;  // x, y: (rows, cols)
@group(0) @binding(2) var<storage, read> bias: array<f32>;         // (cols)

@compute @workgroup_size(64)
fn activation(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = place_of(workgroup_index(workgroup, grid), thread, params.cols);
  if (at.row >= params.rows || at.col >= params.cols) {
    return;
  }
  var x = params.scale * arena[params.x_offset + at.row * params.x_stride + at.col];
  if (params.has_bias == 1u) {
    x += bias[at.col];
  }
  arena[params.y_offset + at.row * params.y_stride + at.col] = params.gain * activate(params.act, x);
}
