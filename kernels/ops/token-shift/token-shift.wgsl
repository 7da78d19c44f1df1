// token_shift: y_j[t] = x[t] + mix_j ⊙ (x[t − 1] − x[t]); x[−1] is the state, which becomes x[T − 1].
// Source:   RWKV (arXiv:2305.13048) §3.1; RWKV-7 (arXiv:2503.14456) §4.1.
// Grid:     a thread a (b, t, channel), 64 channels a workgroup; it makes all mixtures. That of t = 0 alone reads and
//           replaces the state.
override CHANNELS: u32;
override MIXTURES: u32;

struct Params {
  rows: u32,
  length: u32,
  x_offset: u32,
  x_stride: u32,
  y_offset: u32,
  y_stride: u32,
  state_offset: u32,
  state_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;  // x: (B * T, channels), y: (B * T, n * channels)
@group(0) @binding(2) var<storage, read> mix: array<f32>;          // (n, channels)
@group(1) @binding(0) var<storage, read_write> state: array<f32>;  // (B, channels)

@compute @workgroup_size(64)
fn token_shift(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = place_of(workgroup_index(workgroup, grid), thread, CHANNELS);
  if (at.row >= params.rows || at.col >= CHANNELS) {
    return;
  }
  let x = params.x_offset + at.row * params.x_stride + at.col;
  let now = arena[x];
  var before = 0.0;
  if (at.row % params.length == 0u) {
    let held = params.state_offset + at.row / params.length * params.state_stride + at.col;
    before = state[held];
    state[held] = arena[x + (params.length - 1u) * params.x_stride];
  } else {
    before = arena[x - params.x_stride];
  }
  let y = params.y_offset + at.row * params.y_stride + at.col;
  for (var j = 0u; j < MIXTURES; j += 1u) {
    arena[y + j * CHANNELS] = now + mix[j * CHANNELS + at.col] * (before - now);
  }
}
