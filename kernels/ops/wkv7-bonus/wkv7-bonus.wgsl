// wkv7_bonus: y = (x + (r · (ρ ⊙ k̃)) v) ⊙ g, head by head.
// Source:   RWKV-7 (arXiv:2503.14456) §4.1.
// Grid:     a thread a (row, value channel), 64 channels a workgroup. Each sums its head's products for itself: they come
//           from the cache, and no barrier is needed.
override KEY_DIM: u32;
override VALUE_DIM: u32;
override VALUES: u32;  // of all heads

struct Params {
  rows: u32,
  x_offset: u32,
  x_stride: u32,
  r_offset: u32,
  r_stride: u32,
  k_offset: u32,
  k_stride: u32,
  v_offset: u32,
  v_stride: u32,
  g_offset: u32,
  g_stride: u32,
  y_offset: u32,
  y_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// r, k: (rows, nHead * KEY_DIM); x, v, g, y: (rows, nHead * VALUE_DIM)
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;  // ρ: (nHead * KEY_DIM)

@compute @workgroup_size(64)
fn wkv7_bonus(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = place_of(workgroup_index(workgroup, grid), thread, VALUES);
  if (at.row >= params.rows || at.col >= VALUES) {
    return;
  }
  let keys = at.col / VALUE_DIM * KEY_DIM;
  let r = params.r_offset + at.row * params.r_stride;
  let k = params.k_offset + at.row * params.k_stride;
  var bonus = 0.0;
  for (var j = keys; j < keys + KEY_DIM; j += 1u) {
    bonus += arena[r + j] * weight[j] * arena[k + j];
  }
  let x = arena[params.x_offset + at.row * params.x_stride + at.col];
  let v = arena[params.v_offset + at.row * params.v_stride + at.col];
  let g = arena[params.g_offset + at.row * params.g_stride + at.col];
  arena[params.y_offset + at.row * params.y_stride + at.col] = (x + bonus * v) * g;
}
