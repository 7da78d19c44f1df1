// rg_lru: log a = logDecay σ(r); h[t] = a h[t−1] + √(1 − a²) σ(i) x; h[0] = σ(i) x at position 0; y = h.
// Source:   Griffin (arXiv:2402.19427) eq. 1–4.
// Grid:     a thread a (b, channel) over all tokens, 64 channels a workgroup.
// Numerics: f32; 1 − a² = 1 − exp(−u) by its series for small u, where the difference would cancel.
override WIDTH: u32;

struct Params {
  batch: u32,
  length: u32,  // T
  x_offset: u32,
  x_stride: u32,
  r_offset: u32,
  r_stride: u32,
  i_offset: u32,
  i_stride: u32,
  y_offset: u32,
  y_stride: u32,
  state_offset: u32,
  state_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;     // x, r, i, y: (B * T, width)
@group(0) @binding(2) var<storage, read> log_decay: array<f32>;       // (width)
@group(0) @binding(3) var<storage, read> positions: array<i32>;       // (1 + B), the first is not ours
@group(1) @binding(0) var<storage, read_write> state: array<f32>;     // h: (B, width)

fn sigmoid(x: f32) -> f32 {
  // exp(-x) is kept finite: WGSL promises nothing about infinity.
  return 1.0 / (1.0 + exp(min(-x, 88.0)));
}

// 1 − exp(−u), u ≥ 0.
fn one_less_exp(u: f32) -> f32 {
  let series = u * (1.0 - u / 2.0 * (1.0 - u / 3.0 * (1.0 - u / 4.0 * (1.0 - u / 5.0 * (1.0 - u / 6.0)))));
  return select(1.0 - exp(-u), series, u < 0.25);
}

@compute @workgroup_size(64)
fn rg_lru(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let pieces = (WIDTH + 63u) / 64u;
  let index = workgroup_index(workgroup, grid);
  let b = index / pieces;
  let c = (index % pieces) * 64u + thread;
  if (b >= params.batch || c >= WIDTH) {
    return;
  }
  let state_at = params.state_offset + b * params.state_stride + c;
  let position = positions[1u + b];
  let decay = log_decay[c];
  var h = state[state_at];
  for (var t = 0u; t < params.length; t += 1u) {
    let row = b * params.length + t;
    let gated = sigmoid(arena[params.i_offset + row * params.i_stride + c])
      * arena[params.x_offset + row * params.x_stride + c];
    if (position + i32(t) == 0) {
      h = gated;
    } else {
      let log_a = decay * sigmoid(arena[params.r_offset + row * params.r_stride + c]);
      h = exp(log_a) * h + sqrt(one_less_exp(-2.0 * log_a)) * gated;
    }
    arena[params.y_offset + row * params.y_stride + c] = h;
  }
  state[state_at] = h;
}
