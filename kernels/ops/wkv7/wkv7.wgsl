// wkv7: S[t] = S[t−1] (diag(w) − κ̂ᵀ (a ⊙ κ̂)) + vᵀ k̃; y[t] = r S[t]ᵀ, in each head.
// Source:   RWKV-7 (arXiv:2503.14456) §4.1.
// Grid:     a team of TEAM lanes a (b, value channel), which holds a row of S in registers and walks the tokens in order.
//           KEY_DIM, the width of a head's keys, and EACH, the values of a row that a lane has, are consts: they size it.
// Numerics: f32; lane sums, then the team's sum in a fixed order.
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

// What one token brings to a lane.
struct Token {
  r: array<f32, EACH>,
  w: array<f32, EACH>,
  k: array<f32, EACH>,
  kappa: array<f32, EACH>,
  a: array<f32, EACH>,
  v: f32,
}

fn token_at(row: u32, keys: u32, col: u32, lane: u32) -> Token {
  var token: Token;
  for (var i = 0u; i < EACH; i += 1u) {
    let j = lane + i * TEAM;
    if (j < KEY_DIM) {
      token.r[i] = arena[params.r_offset + row * params.r_stride + keys + j];
      token.w[i] = arena[params.w_offset + row * params.w_stride + keys + j];
      token.k[i] = arena[params.k_offset + row * params.k_stride + keys + j];
      token.kappa[i] = arena[params.kappa_offset + row * params.kappa_stride + keys + j];
      token.a[i] = arena[params.a_offset + row * params.a_stride + keys + j];
    }
  }
  token.v = arena[params.v_offset + row * params.v_stride + col];
  return token;
}

@compute @workgroup_size(TEAM * TEAMS)
fn wkv7(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let team = workgroup_index(workgroup, grid) * TEAMS + thread / TEAM;
  let lane = thread % TEAM;
  let valid = team < params.batch * VALUES;
  // Beyond the last, a team takes the last along and writes nothing: it must reach the barriers of the sums.
  let at = min(team, params.batch * VALUES - 1u);
  let b = at / VALUES;
  let col = at % VALUES;
  let keys = col / VALUE_DIM * KEY_DIM;
  let held = params.state_offset + b * params.state_stride + col * KEY_DIM;
  var S: array<f32, EACH>;
  for (var i = 0u; i < EACH; i += 1u) {
    if (lane + i * TEAM < KEY_DIM) {
      S[i] = state[held + lane + i * TEAM];
    }
  }
  var next = token_at(b * params.length, keys, col, lane);
  for (var t = 0u; t < params.length; t += 1u) {
    let row = b * params.length + t;
    let token = next;
    // Fetched while this one is computed: a step is shorter than the way to memory.
    next = token_at(min(row + 1u, (b + 1u) * params.length - 1u), keys, col, lane);
    var part = 0.0;
    for (var i = 0u; i < EACH; i += 1u) {
      part += S[i] * token.kappa[i];
    }
    let removed = team_sum(part, thread);
    part = 0.0;
    for (var i = 0u; i < EACH; i += 1u) {
      S[i] = S[i] * token.w[i] - removed * token.a[i] * token.kappa[i] + token.v * token.k[i];
      part += S[i] * token.r[i];
    }
    let y = team_sum(part, thread);
    if (valid && lane == 0u) {
      arena[params.y_offset + row * params.y_stride + col] = y;
    }
  }
  if (valid) {
    for (var i = 0u; i < EACH; i += 1u) {
      if (lane + i * TEAM < KEY_DIM) {
        state[held + lane + i * TEAM] = S[i];
      }
    }
  }
}
