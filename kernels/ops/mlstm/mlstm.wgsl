// mlstm: m[t] = max(log σ(f̃) + m[t−1], ĩ); f = exp(log σ(f̃) + m[t−1] − m[t]); i = exp(ĩ − m[t]); C[t] = f C[t−1] + i k ⊗ v;
//        n[t] = f n[t−1] + i k; y[t] = Cᵀ q / (max(|n · q|, exp(−m[t])) + eps), q divided by √headDimK.
// Source:   xLSTM (arXiv:2405.04517) eq. 19–27.
// Grid:     mlstm_gates: a thread a (b, head) over all tokens; mlstm_memory: a thread a column of (C, n) over all tokens;
//           mlstm_output: a thread a value of y. 64 threads a workgroup.
// Numerics: f32. n is one more column of C, for a value of 1.
override HEADS: u32;
override HEAD_DIM_K: u32;
override HEAD_DIM_V: u32;

struct Params {
  batch: u32,
  length: u32,  // T
  eps: f32,
  q_offset: u32,
  q_stride: u32,
  k_offset: u32,
  k_stride: u32,
  v_offset: u32,
  v_stride: u32,
  i_offset: u32,
  i_stride: u32,
  f_offset: u32,
  f_stride: u32,
  y_offset: u32,
  y_stride: u32,
  state_offset: u32,
  state_stride: u32,
  gates: u32,  // scratch: f, i, exp(−m), (B * T, heads, 3)
  sums: u32,   // scratch: Cᵀ q, n · q, (B * T, heads, headDimV + 1)
}

@group(0) @binding(0) var<uniform> params: Params;
// q, k: (B * T, heads * headDimK); v, y: (B * T, heads * headDimV); ĩ, f̃: (B * T, heads); scratch
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
// (B, heads, (headDimK, headDimV) C, (headDimK) n, (1) m)
@group(1) @binding(0) var<storage, read_write> state: array<f32>;

fn head_state(b: u32, head: u32) -> u32 {
  return params.state_offset + b * params.state_stride + head * (HEAD_DIM_K * (HEAD_DIM_V + 1u) + 1u);
}

@compute @workgroup_size(64)
fn mlstm_gates(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid) * 64u + thread;
  let b = index / HEADS;
  let head = index % HEADS;
  if (b >= params.batch) {
    return;
  }
  let kept = head_state(b, head) + HEAD_DIM_K * (HEAD_DIM_V + 1u);
  var m = state[kept];
  for (var t = 0u; t < params.length; t += 1u) {
    let row = b * params.length + t;
    let log_i = arena[params.i_offset + row * params.i_stride + head];
    let log_f = -softplus(-arena[params.f_offset + row * params.f_stride + head]);
    let largest = max(log_f + m, log_i);
    let at = params.gates + (row * HEADS + head) * 3u;
    arena[at] = exp(log_f + m - largest);
    arena[at + 1u] = exp(log_i - largest);
    // Kept finite: WGSL promises nothing about infinity.
    arena[at + 2u] = exp(min(-largest, 88.0));
    m = largest;
  }
  state[kept] = m;
}

@compute @workgroup_size(64)
fn mlstm_memory(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid) * 64u + thread;
  let column = index % (HEAD_DIM_V + 1u);
  let head = (index / (HEAD_DIM_V + 1u)) % HEADS;
  let b = index / ((HEAD_DIM_V + 1u) * HEADS);
  if (b >= params.batch) {
    return;
  }
  let is_n = column == HEAD_DIM_V;
  let first = head_state(b, head) + select(column, HEAD_DIM_K * HEAD_DIM_V, is_n);
  let step = select(HEAD_DIM_V, 1u, is_n);
  for (var t = 0u; t < params.length; t += 1u) {
    let row = b * params.length + t;
    let gates = params.gates + (row * HEADS + head) * 3u;
    let f = arena[gates];
    var value = arena[gates + 1u];
    if (!is_n) {
      value *= arena[params.v_offset + row * params.v_stride + head * HEAD_DIM_V + column];
    }
    let q = params.q_offset + row * params.q_stride + head * HEAD_DIM_K;
    let k = params.k_offset + row * params.k_stride + head * HEAD_DIM_K;
    var sum = 0.0;
    for (var r = 0u; r < HEAD_DIM_K; r += 1u) {
      let at = first + r * step;
      let next = f * state[at] + arena[k + r] * value;
      state[at] = next;
      sum += arena[q + r] * next;
    }
    arena[params.sums + (row * HEADS + head) * (HEAD_DIM_V + 1u) + column] = sum;
  }
}

@compute @workgroup_size(64)
fn mlstm_output(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid) * 64u + thread;
  let column = index % HEAD_DIM_V;
  let head = (index / HEAD_DIM_V) % HEADS;
  let row = index / (HEAD_DIM_V * HEADS);
  if (row >= params.batch * params.length) {
    return;
  }
  let scale = inverseSqrt(f32(HEAD_DIM_K));
  let sums = params.sums + (row * HEADS + head) * (HEAD_DIM_V + 1u);
  let floor = arena[params.gates + (row * HEADS + head) * 3u + 2u];
  let divisor = max(abs(arena[sums + HEAD_DIM_V] * scale), floor) + params.eps;
  arena[params.y_offset + row * params.y_stride + head * HEAD_DIM_V + column] =
    arena[sums + column] * scale / divisor;
}
