// gated_delta: α = exp(A softplus(dtRaw + dtBias)), β = betaScale · σ(betaRaw);
//              S = (I − β k kᵀ) diag(α) S + β k vᵀ; y = scale · Sᵀ q
// Source:   Gated DeltaNet (arXiv:2412.06464) eq. 10; Kimi Delta Attention (arXiv:2510.26692) eq. 1.
// Grid:     a workgroup a (b, head, COLUMNS columns of S); of each column PARTS threads hold ROWS rows in registers, and walk
//           the tokens in order. Threads side by side hold columns side by side.
// Numerics: f32 state; sums over a column in a fixed order, for any T and any cut of a prompt.
override HEADS: u32;      // value heads
override KEY_HEADS: u32;
override TILED: u32;      // 1: value head h reads key head h mod KEY_HEADS; 0: h · KEY_HEADS / HEADS
override HEAD_DIM_K: u32;
override HEAD_DIM_V: u32;
override PER_CHANNEL: u32;  // 1: dtRaw has a column for each channel of the keys; 0: one for each head

struct Params {
  batch: u32,
  length: u32,  // T
  q_offset: u32,
  q_stride: u32,
  k_offset: u32,
  k_stride: u32,
  v_offset: u32,
  v_stride: u32,
  dt_offset: u32,
  dt_stride: u32,
  beta_offset: u32,
  beta_stride: u32,
  y_offset: u32,
  y_stride: u32,
  state_offset: u32,
  state_stride: u32,
  beta_scale: f32,
  scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// q, k: (B * T, KEY_HEADS * HEAD_DIM_K); v, y: (B * T, HEADS * HEAD_DIM_V); dtRaw, betaRaw
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> dt_bias: array<f32>;      // (HEADS or HEADS * HEAD_DIM_K)
@group(0) @binding(3) var<storage, read> A: array<f32>;            // (HEADS), negative
@group(1) @binding(0) var<storage, read_write> state: array<f32>;  // S: (B, HEADS, HEAD_DIM_K, HEAD_DIM_V)

var<workgroup> held_sums: array<f32, COLUMNS * PARTS>;
var<workgroup> answer_sums: array<f32, COLUMNS * PARTS>;

fn decay_at(row: u32, head: u32, channel: u32) -> f32 {
  let column = select(head, head * HEAD_DIM_K + channel, PER_CHANNEL == 1u);
  let dt = arena[params.dt_offset + row * params.dt_stride + column];
  return exp(A[head] * softplus(dt + dt_bias[column]));
}

@compute @workgroup_size(COLUMNS * PARTS)
fn gated_delta(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let slices = (HEAD_DIM_V + COLUMNS - 1u) / COLUMNS;
  let index = workgroup_index(workgroup, grid);
  let head = (index / slices) % HEADS;
  let b = index / (slices * HEADS);
  // Beyond the last sequence a workgroup has nothing to do; beyond the last column a thread works in vain on the last one, for
  // it must reach the barriers.
  if (b >= params.batch) {
    return;
  }
  let column = (index % slices) * COLUMNS + thread % COLUMNS;
  let j = min(column, HEAD_DIM_V - 1u);
  let part = thread / COLUMNS;
  let first = part * ROWS;
  let key_head = select(head * KEY_HEADS / HEADS, head % KEY_HEADS, TILED == 1u);
  let state_at = params.state_offset + b * params.state_stride + (head * HEAD_DIM_K + first) * HEAD_DIM_V + j;
  var S: array<f32, ROWS>;
  for (var i = 0u; i < ROWS; i += 1u) {
    if (first + i < HEAD_DIM_K) {
      S[i] = state[state_at + i * HEAD_DIM_V];
    }
  }
  for (var t = 0u; t < params.length; t += 1u) {
    let row = b * params.length + t;
    let q_at = params.q_offset + row * params.q_stride + key_head * HEAD_DIM_K + first;
    let k_at = params.k_offset + row * params.k_stride + key_head * HEAD_DIM_K + first;
    var alpha = 1.0;
    if (PER_CHANNEL == 0u) {
      alpha = decay_at(row, head, 0u);
    }
    var held = 0.0;
    for (var i = 0u; i < ROWS; i += 1u) {
      if (first + i < HEAD_DIM_K) {
        if (PER_CHANNEL == 1u) {
          S[i] *= decay_at(row, head, first + i);
        } else {
          S[i] *= alpha;
        }
        held += arena[k_at + i] * S[i];
      }
    }
    if (PARTS > 1u) {
      held_sums[thread] = held;
      workgroupBarrier();
      held = 0.0;
      for (var p = 0u; p < PARTS; p += 1u) {
        held += held_sums[p * COLUMNS + thread % COLUMNS];
      }
    }
    let beta_raw = arena[params.beta_offset + row * params.beta_stride + head];
    // exp(-x) is kept finite: WGSL promises nothing about infinity.
    let beta = params.beta_scale / (1.0 + exp(min(-beta_raw, 88.0)));
    let v = arena[params.v_offset + row * params.v_stride + head * HEAD_DIM_V + j];
    let delta = beta * (v - held);
    var answer = 0.0;
    for (var i = 0u; i < ROWS; i += 1u) {
      if (first + i < HEAD_DIM_K) {
        S[i] += arena[k_at + i] * delta;
        answer += arena[q_at + i] * S[i];
      }
    }
    if (PARTS > 1u) {
      answer_sums[thread] = answer;
      // The barrier of the next token's first sum comes before anybody writes here again.
      workgroupBarrier();
      answer = 0.0;
      for (var p = 0u; p < PARTS; p += 1u) {
        answer += answer_sums[p * COLUMNS + thread % COLUMNS];
      }
    }
    if (part == 0u && column < HEAD_DIM_V) {
      arena[params.y_offset + row * params.y_stride + head * HEAD_DIM_V + j] = params.scale * answer;
    }
  }
  if (column < HEAD_DIM_V) {
    for (var i = 0u; i < ROWS; i += 1u) {
      if (first + i < HEAD_DIM_K) {
        state[state_at + i * HEAD_DIM_V] = S[i];
      }
    }
  }
}
