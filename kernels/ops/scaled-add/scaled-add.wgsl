// scaled_add: y = a_scale ⊙ a + b_scale ⊙ b + bias
// Grid:     a thread a value, workgroups of 64 along a row, folded.
// Numerics: f32; y may be a or b.
const HAS_B = 1u;
const HAS_BIAS = 2u;
const A_BY_COLUMN = 4u;  // a_scales, not a_scale
const B_BY_COLUMN = 8u;

struct Params {
  rows: u32,
  cols: u32,
  has: u32,  // the bits above
  a_offset: u32,
  a_stride: u32,
  a_scale: f32,
  b_offset: u32,
  b_stride: u32,
  b_scale: f32,
  y_offset: u32,
  y_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;  // a, b, y: (rows, cols)
@group(0) @binding(2) var<storage, read> a_scales: array<f32>;     // (cols)
@group(0) @binding(3) var<storage, read> b_scales: array<f32>;     // (cols)
@group(0) @binding(4) var<storage, read> bias: array<f32>;         // (cols)

@compute @workgroup_size(64)
fn scaled_add(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = place_of(workgroup_index(workgroup, grid), thread, params.cols);
  if (at.row >= params.rows || at.col >= params.cols) {
    return;
  }
  var a_scale = params.a_scale;
  if ((params.has & A_BY_COLUMN) != 0u) {
    a_scale = a_scales[at.col];
  }
  var sum = a_scale * arena[params.a_offset + at.row * params.a_stride + at.col];
  if ((params.has & HAS_B) != 0u) {
    var b_scale = params.b_scale;
    if ((params.has & B_BY_COLUMN) != 0u) {
      b_scale = b_scales[at.col];
    }
    sum += b_scale * arena[params.b_offset + at.row * params.b_stride + at.col];
  }
  if ((params.has & HAS_BIAS) != 0u) {
    sum += bias[at.col];
  }
  arena[params.y_offset + at.row * params.y_stride + at.col] = sum;
}
