// selective_scan for T = 1, the step of decode: h = exp(dt A) ⊙ h + dt B x; y = (C · h + D x) · silu(z), where
// dt = softplus(dtRaw + dtBias) and dtRaw is given, or n(dtLow) Wᵀ; B and C may go through an RMS norm, as n does.
// Source:   Mamba (arXiv:2312.00752) algorithm 2; the norms Lieber et al. 2024 (arXiv:2403.19887) §6.4.
// Grid:     a team of TEAM lanes a (b, channel): side by side over a row of W, then over the channel's dState values.
// Numerics: f32; lane sums, then the team's in a fixed order.
override GROUPS: u32;
override HAS_DT_BIAS: u32;
override DT_SOFTPLUS: u32;
override HAS_D: u32;
override HAS_Z: u32;
override PROJECTS_DT: u32;
override NORMED: u32;
override HAS_DT_NORM: u32;
override HAS_B_NORM: u32;
override HAS_C_NORM: u32;

struct Params {
  batch: u32,
  d_inner: u32,
  d_state: u32,
  x_offset: u32,
  x_stride: u32,
  dt_offset: u32,  // of dtRaw, or dtLow
  dt_stride: u32,
  b_offset: u32,
  b_stride: u32,
  c_offset: u32,
  c_stride: u32,
  z_offset: u32,
  z_stride: u32,
  y_offset: u32,
  y_stride: u32,
  state_offset: u32,
  state_stride: u32,
  dt_rank: u32,
  row_vectors: u32,  // of W, 16-byte vectors a packed row
  scale_words: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// x, dtRaw, z, y: (B, dInner); dtLow: (B, dtRank); B, C: (B, nGroup * dState)
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> A: array<f32>;              // (dInner, dState), negative
@group(0) @binding(3) var<storage, read> dt_bias: array<f32>;        // (dInner)
@group(0) @binding(4) var<storage, read> D: array<f32>;              // (dInner)
@group(0) @binding(5) var<storage, read> values: array<vec4<u32>>;   // W: (dInner, dtRank) packed
@group(0) @binding(6) var<storage, read> scales: array<u32>;         // (dInner, scale_words), see unpack.wgsl
@group(1) @binding(0) var<storage, read_write> state: array<f32>;    // h: (B, dInner, dState)

// dtLow[k], normed but for its scale; 0 beyond its end.
fn dt_low(first: u32, k: u32) -> f32 {
  if (k >= params.dt_rank) {
    return 0.0;
  }
  return arena[first + k];
}

// One lane's part of the product with row `d` of W, and of the sum of dtLow's squares.
fn project_dt(first: u32, d: u32, lane: u32) -> vec2<f32> {
  var sums = vec2<f32>();
  for (var v = lane; v < params.row_vectors; v += TEAM) {
    let packed = values[d * params.row_vectors + v];
    let block = block_of(d * params.scale_words, v);
    for (var quarter = 0u; quarter < VALUES / 4u; quarter += 1u) {
      let k = v * VALUES + 4u * quarter;
      let low = vec4<f32>(dt_low(first, k), dt_low(first, k + 1u), dt_low(first, k + 2u), dt_low(first, k + 3u));
      sums += vec2<f32>(dot(low * dt_norms(k), four_weights(packed, block, quarter)), dot(low, low));
    }
  }
  return sums;
}

@compute @workgroup_size(TEAM * TEAMS)
fn selective_scan_step(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let team = workgroup_index(workgroup, grid) * TEAMS + thread / TEAM;
  let lane = thread % TEAM;
  let valid = team < params.batch * params.d_inner;
  // Beyond the last, a team reaches the barriers with nothing to do.
  let b = select(0u, team / params.d_inner, valid);
  let d = team % params.d_inner;
  let group = d * GROUPS / params.d_inner;
  let B = params.b_offset + b * params.b_stride + group * params.d_state;
  let C = params.c_offset + b * params.c_stride + group * params.d_state;
  let dt_first = params.dt_offset + b * params.dt_stride;

  var dt = 0.0;
  var b_scale = 1.0;
  var c_scale = 1.0;
  if (PROJECTS_DT == 1u) {
    var sums = vec4<f32>(project_dt(dt_first, d, lane), 0.0, 0.0);
    if (NORMED == 1u) {
      for (var n = lane; n < params.d_state; n += TEAM) {
        sums.z += arena[B + n] * arena[B + n];
        sums.w += arena[C + n] * arena[C + n];
      }
    }
    sums = team_sums(sums, thread);
    dt = sums.x;
    if (NORMED == 1u) {
      dt /= sqrt(sums.y / f32(params.dt_rank) + params.eps);
      b_scale = 1.0 / sqrt(sums.z / f32(params.d_state) + params.eps);
      c_scale = 1.0 / sqrt(sums.w / f32(params.d_state) + params.eps);
    }
  } else {
    dt = arena[dt_first + d];
  }
  if (HAS_DT_BIAS == 1u) {
    dt += dt_bias[d];
  }
  if (DT_SOFTPLUS == 1u) {
    dt = softplus(dt);
  }

  let x = arena[params.x_offset + b * params.x_stride + d];
  let h_at = params.state_offset + b * params.state_stride + d * params.d_state;
  var sum = 0.0;
  if (valid) {
    for (var n = lane; n < params.d_state; n += TEAM) {
      let h = exp(dt * A[d * params.d_state + n]) * state[h_at + n] + dt * x * b_scale * b_norm_at(n) * arena[B + n];
      state[h_at + n] = h;
      sum += h * c_scale * c_norm_at(n) * arena[C + n];
    }
  }
  var y = team_sums(vec4<f32>(sum, 0.0, 0.0, 0.0), thread).x;
  if (valid && lane == 0u) {
    if (HAS_D == 1u) {
      y += D[d] * x;
    }
    if (HAS_Z == 1u) {
      y *= silu(arena[params.z_offset + b * params.z_stride + d]);
    }
    arena[params.y_offset + b * params.y_stride + d] = y;
  }
}
