// causal_conv1d: y[t, c] = act(bias[c] + Σ_k weight[c, k] · x[t − (dConv − 1) + k, c]); the state is the last dConv − 1 x.
// Source:   Mamba (arXiv:2312.00752) §3.4.
// Grid:     a thread a (b, run of TOKENS tokens, c), 64 channels a workgroup. Only the first run of a sequence reads the
//           state, so it also moves it on: TOKENS ≥ dConv − 1.
// Numerics: f32, taps oldest first.
override CHANNELS: u32;
override D_CONV: u32;
override HAS_BIAS: u32;
override SILU: u32;
override TOKENS: u32;

struct Params {
  batch: u32,
  length: u32,
  x_offset: u32,
  x_stride: u32,
  y_offset: u32,
  y_stride: u32,
  state_offset: u32,
  state_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;  // x, y: (B * T, channels)
@group(0) @binding(2) var<storage, read> weight: array<f32>;       // (channels, dConv), oldest tap first
@group(0) @binding(3) var<storage, read> bias: array<f32>;         // (channels)
@group(1) @binding(0) var<storage, read_write> state: array<f32>;  // (B, channels, dConv - 1), oldest first

// Input number i of sequence b, counted from the state's oldest: the state first, then x.
fn input(b: u32, c: u32, i: u32) -> f32 {
  if (i < D_CONV - 1u) {
    return state[state_at(b, c) + i];
  }
  return arena[params.x_offset + (b * params.length + i - (D_CONV - 1u)) * params.x_stride + c];
}

fn state_at(b: u32, c: u32) -> u32 {
  return params.state_offset + b * params.state_stride + c * (D_CONV - 1u);
}

// Ascending i reads old entries before they are written.
fn move_state(b: u32, c: u32) {
  for (var i = 0u; i < D_CONV - 1u; i += 1u) {
    state[state_at(b, c) + i] = input(b, c, i + params.length);
  }
}

@compute @workgroup_size(64)
fn causal_conv1d(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let pieces = (CHANNELS + 63u) / 64u;
  let runs = (params.length + TOKENS - 1u) / TOKENS;
  let index = workgroup_index(workgroup, grid);
  let c = (index % pieces) * 64u + thread;
  let run = index / pieces % runs;
  let b = index / (pieces * runs);
  if (b >= params.batch || c >= CHANNELS) {
    return;
  }
  var first = 0.0;
  if (HAS_BIAS == 1u) {
    first = bias[c];
  }
  let t_end = min((run + 1u) * TOKENS, params.length);
  for (var t = run * TOKENS; t < t_end; t += 1u) {
    var sum = first;
    for (var k = 0u; k < D_CONV; k += 1u) {
      sum += weight[c * D_CONV + k] * input(b, c, t + k);
    }
    if (SILU == 1u) {
      sum = silu(sum);
    }
    arena[params.y_offset + (b * params.length + t) * params.y_stride + c] = sum;
  }
  if (run == 0u) {
    move_state(b, c);
  }
}
