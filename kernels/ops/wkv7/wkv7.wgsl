// wkv7: S[t] = S[t−1] (diag(w) − κ̂ᵀ (a ⊙ κ̂)) + vᵀ k̃; y[t] = r S[t]ᵀ, in each head.
// Source:   RWKV-7 (arXiv:2503.14456) §4.1.
// Grid:     a thread a (b, value channel) with its row of S in registers, 64 channels a workgroup; it walks the tokens
//           in order. KEY_DIM, the width of a head's keys, is a const: it sizes the row.
override VALUE_DIM: u32;
override VALUES: u32;  // of all heads

struct Params {
  batch: u32,
  length: u32,
  r_offset: u32,
  r_stride: u32,
  w_offset: u32,
  w_stride: u32,
  k_offset: u32,
  k_stride: u32,
  v_offset: u32,
  v_stride: u32,
  kappa_offset: u32,
  kappa_stride: u32,
  a_offset: u32,
  a_stride: u32,
  y_offset: u32,
  y_stride: u32,
  state_offset: u32,
  state_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// r, w, k, kappa, a: (B * T, nHead * KEY_DIM); v, y: (B * T, nHead * VALUE_DIM)
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(1) @binding(0) var<storage, read_write> state: array<f32>;  // S: (B, nHead, VALUE_DIM, KEY_DIM)

@compute @workgroup_size(64)
fn wkv7(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = place_of(workgroup_index(workgroup, grid), thread, VALUES);
  if (at.row >= params.batch || at.col >= VALUES) {
    return;
  }
  let held = params.state_offset + at.row * params.state_stride + at.col * KEY_DIM;
  let keys = at.col / VALUE_DIM * KEY_DIM;
  var S: array<f32, KEY_DIM>;
  for (var j = 0u; j < KEY_DIM; j += 1u) {
    S[j] = state[held + j];
  }
  for (var t = 0u; t < params.length; t += 1u) {
    let row = at.row * params.length + t;
    let r = params.r_offset + row * params.r_stride + keys;
    let w = params.w_offset + row * params.w_stride + keys;
    let k = params.k_offset + row * params.k_stride + keys;
    let kappa = params.kappa_offset + row * params.kappa_stride + keys;
    let a = params.a_offset + row * params.a_stride + keys;
    let v = arena[params.v_offset + row * params.v_stride + at.col];
    var removed = 0.0;
    for (var j = 0u; j < KEY_DIM; j += 1u) {
      removed += S[j] * arena[kappa + j];
    }
    var y = 0.0;
    for (var j = 0u; j < KEY_DIM; j += 1u) {
      S[j] = S[j] * arena[w + j] - removed * arena[a + j] * arena[kappa + j] + v * arena[k + j];
      y += S[j] * arena[r + j];
    }
    arena[params.y_offset + row * params.y_stride + at.col] = y;
  }
  for (var j = 0u; j < KEY_DIM; j += 1u) {
    state[held + j] = S[j];
  }
}
