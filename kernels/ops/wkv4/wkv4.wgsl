// wkv4: with a, b the sums over the past divided by exp(p): q = max(p, u + k),
//       y = (exp(p − q) a + exp(u + k − q) v) / (exp(p − q) b + exp(u + k − q)); then a, b take k[t] in.
// Source:   RWKV (arXiv:2305.13048) §3.1, appendix D.
// Grid:     a thread a (b, channel), 64 channels a workgroup; it walks the tokens in order.
// Numerics: no exponent above 0, so nothing overflows.
override CHANNELS: u32;

struct Params {
  batch: u32,
  length: u32,
  k_offset: u32,
  k_stride: u32,
  v_offset: u32,
  v_stride: u32,
  y_offset: u32,
  y_stride: u32,
  state_offset: u32,
  state_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;  // k, v, y: (B * T, channels)
@group(0) @binding(2) var<storage, read> decay: array<f32>;        // (channels), negative
@group(0) @binding(3) var<storage, read> bonus: array<f32>;        // (channels)
@group(1) @binding(0) var<storage, read_write> state: array<f32>;  // (B, 3, channels): a, b, p

@compute @workgroup_size(64)
fn wkv4(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = place_of(workgroup_index(workgroup, grid), thread, CHANNELS);
  if (at.row >= params.batch || at.col >= CHANNELS) {
    return;
  }
  let held = params.state_offset + at.row * params.state_stride + at.col;
  var numerator = state[held];
  var denominator = state[held + CHANNELS];
  // Before the first token there is no exponent; exp(-1e38) is 0.
  var p = select(state[held + 2u * CHANNELS], -1e38, denominator == 0.0);
  for (var t = 0u; t < params.length; t += 1u) {
    let row = at.row * params.length + t;
    let key = arena[params.k_offset + row * params.k_stride + at.col];
    let value = arena[params.v_offset + row * params.v_stride + at.col];
    let now = bonus[at.col] + key;
    let q = max(p, now);
    let past = exp(p - q);
    let present = exp(now - q);
    arena[params.y_offset + row * params.y_stride + at.col] =
      (past * numerator + present * value) / (past * denominator + present);
    let decayed = p + decay[at.col];
    p = max(decayed, key);
    let kept = exp(decayed - p);
    let added = exp(key - p);
    numerator = kept * numerator + added * value;
    denominator = kept * denominator + added;
  }
  state[held] = numerator;
  state[held + CHANNELS] = denominator;
  state[held + 2u * CHANNELS] = p;
}
