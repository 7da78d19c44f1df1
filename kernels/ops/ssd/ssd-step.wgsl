// ssd for T = 1, the step of decode, by 16 bytes: h = exp(dt A) h + dt x ⊗ B; y = h C + D x; y · silu(z)
// Source:   Mamba-2 (arXiv:2405.21060) §6; memory bound: the state is read and written once.
// Grid:     a team of TEAM lanes 4 neighbouring channels of a head, 4 values of each channel's dState a lane.
// Numerics: f32; lane sums, then the team's in a fixed order.
override HAS_DT_BIAS: u32;
override DT_SOFTPLUS: u32;
override HAS_D: u32;
override HAS_Z: u32;

struct Params {
  batch: u32,
  heads: u32,     // nHead
  head_dim: u32,  // headDim; a multiple of 4, as all are that count values but dt's
  groups: u32,    // nGroup; head p belongs to group floor(p · nGroup / nHead)
  d_state: u32,   // dState
  x_offset: u32,
  x_stride: u32,
  dt_offset: u32,
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
  dt_min: f32,
  dt_max: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// x, z, y: (B, nHead * headDim); dtRaw: (B, nHead); B, C: (B, nGroup * dState)
@group(0) @binding(1) var<storage, read_write> arena: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> A: array<f32>;                  // (nHead), negative
@group(0) @binding(3) var<storage, read> dt_bias: array<f32>;            // (nHead)
@group(0) @binding(4) var<storage, read> D: array<f32>;                  // (nHead)
@group(1) @binding(0) var<storage, read_write> state: array<vec4<f32>>;  // h: (B, nHead, headDim, dState)

// Four values of a state for each of 4 channels, from vector `at` on, `vectors` from channel to channel.
fn states(at: u32, vectors: u32) -> mat4x4<f32> {
  return mat4x4<f32>(state[at], state[at + vectors], state[at + 2u * vectors], state[at + 3u * vectors]);
}

@compute @workgroup_size(TEAM * TEAMS)
fn ssd_step(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let team = workgroup_index(workgroup, grid) * TEAMS + thread / TEAM;
  let lane = thread % TEAM;
  let fours = params.heads * params.head_dim / 4u;
  let valid = team < params.batch * fours;
  // Beyond the last, a team reaches the barriers with nothing to do.
  let b = select(0u, team / fours, valid);
  let channel = 4u * (team % fours);
  let vectors = params.d_state / 4u;
  let first = (params.state_offset + b * params.state_stride + channel * params.d_state) / 4u;
  // The state is asked for before all else: it comes from memory, while most of the rest was written by the dispatch before.
  var h = states(first + min(lane, vectors - 1u), vectors);
  let head = channel / params.head_dim;
  let group = head * params.groups / params.heads;
  let dt_at = params.dt_offset + b * params.dt_stride + head;
  let B = (params.b_offset + b * params.b_stride + group * params.d_state) / 4u;
  let C = (params.c_offset + b * params.c_stride + group * params.d_state) / 4u;
  let x = arena[(params.x_offset + b * params.x_stride + channel) / 4u];
  var z = vec4<f32>();
  if (HAS_Z == 1u) {
    z = arena[(params.z_offset + b * params.z_stride + channel) / 4u];
  }
  var d = 0.0;
  if (HAS_D == 1u) {
    d = D[head];
  }
  var dt = arena[dt_at / 4u][dt_at % 4u];
  if (HAS_DT_BIAS == 1u) {
    dt += dt_bias[head];
  }
  if (DT_SOFTPLUS == 1u) {
    dt = softplus(dt);
  }
  dt = clamp(dt, params.dt_min, params.dt_max);
  let decay = exp(dt * A[head]);
  let dt_x = dt * x;
  var sums = vec4<f32>();
  if (valid) {
    for (var n = lane; n < vectors; n += TEAM) {
      if (n != lane) {
        h = states(first + n, vectors);
      }
      let b_n = arena[B + n];
      h = mat4x4<f32>(
        decay * h[0] + dt_x.x * b_n,
        decay * h[1] + dt_x.y * b_n,
        decay * h[2] + dt_x.z * b_n,
        decay * h[3] + dt_x.w * b_n,
      );
      state[first + n] = h[0];
      state[first + n + vectors] = h[1];
      state[first + n + 2u * vectors] = h[2];
      state[first + n + 3u * vectors] = h[3];
      sums += arena[C + n] * h;
    }
  }
  var y = team_sums(sums, thread) + d * x;
  if (HAS_Z == 1u) {
    y *= vec4<f32>(silu(z.x), silu(z.y), silu(z.z), silu(z.w));
  }
  if (valid && lane == 0u) {
    arena[(params.y_offset + b * params.y_stride + channel) / 4u] = y;
  }
}
