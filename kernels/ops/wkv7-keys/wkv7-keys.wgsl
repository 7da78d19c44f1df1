// wkv7_keys: w = exp(−e^−½ σ(d)); a = σ(a); κ̂ = (k ⊙ ξ) / ‖k ⊙ ξ‖ head by head; k̃ = k ⊙ (1 + (a − 1) ⊙ α).
// Source:   RWKV-7 (arXiv:2503.14456) §4.1.
// Grid:     a thread a (row, channel), 64 channels a workgroup. Each sums its head's squares for itself: the head's values
//           come from the cache, and no barrier is needed.
override HEAD_DIM: u32;
override CHANNELS: u32;

struct Params {
  rows: u32,
  k_offset: u32,
  k_stride: u32,
  w_offset: u32,
  w_stride: u32,
  a_offset: u32,
  a_stride: u32,
  y_offset: u32,
  y_stride: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// k, w, a: (rows, channels); y: (rows, 4 * channels) = w, a, κ̂, k̃
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> removal: array<f32>;      // ξ: (channels)
@group(0) @binding(3) var<storage, read> replacement: array<f32>;  // α: (channels)

@compute @workgroup_size(64)
fn wkv7_keys(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = place_of(workgroup_index(workgroup, grid), thread, CHANNELS);
  if (at.row >= params.rows || at.col >= CHANNELS) {
    return;
  }
  let k = params.k_offset + at.row * params.k_stride;
  let head = at.col / HEAD_DIM * HEAD_DIM;
  var squares = 0.0;
  for (var i = head; i < head + HEAD_DIM; i += 1u) {
    let removed = arena[k + i] * removal[i];
    squares += removed * removed;
  }
  let key = arena[k + at.col];
  let rate = sigmoid(arena[params.a_offset + at.row * params.a_stride + at.col]);
  let slowness = sigmoid(arena[params.w_offset + at.row * params.w_stride + at.col]);
  let y = params.y_offset + at.row * params.y_stride + at.col;
  arena[y] = exp(-0.6065306597126334 * slowness);
  arena[y + CHANNELS] = rate;
  arena[y + 2u * CHANNELS] = key * removal[at.col] / sqrt(squares + params.eps);
  arena[y + 3u * CHANNELS] = key * (1.0 + (rate - 1.0) * replacement[at.col]);
}
