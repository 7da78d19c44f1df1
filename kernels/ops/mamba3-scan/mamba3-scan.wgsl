// mamba3_scan: h[t] = exp(dt A) (h[t−1] + (1−λ) dt Σ_r v_r[t−1] ⊗ k_r[t−1]) + λ dt Σ_r v_r[t] ⊗ k_r[t]; see mamba3-scan.ts
// Source:      Mamba-3 (arXiv:2603.15569); state-spaces/mamba, `modules/mamba3.py`.
// Grid:        five dispatches, see mamba3-scan.webgpu.ts. Rows are b * length + t; all offsets in values.
struct Params {
  batch: u32,
  length: u32,
  eps: f32,
  a_floor: f32,
  x_offset: u32,
  x_stride: u32,
  z_offset: u32,
  z_stride: u32,
  b_offset: u32,
  b_stride: u32,
  c_offset: u32,
  c_stride: u32,
  dt_offset: u32,
  dt_stride: u32,
  a_offset: u32,
  a_stride: u32,
  trap_offset: u32,
  trap_stride: u32,
  angle_offset: u32,
  angle_stride: u32,
  y_offset: u32,
  y_stride: u32,
  state_offset: u32,
  state_stride: u32,
  keys_offset: u32,    // k of the token before the run's first
  keys_stride: u32,
  values_offset: u32,  // likewise v
  values_stride: u32,
  rotations: u32,      // scratch: (B * T, HEADS, ANGLES, 2) cosines and sines
  factors: u32,        // scratch: (B * T, HEADS, 3): exp(dt A), what the last token's k ⊗ v counts, what this one's does
  outputs: u32,        // scratch, with a norm: (B * T, HEADS, RANK, HEAD_DIM) before it
}

override HEADS: u32;
override HEAD_DIM: u32;
override GROUPS: u32;
override ANGLES: u32;
override SOFTPLUS_DECAY: u32;
override NEIGHBOURS: u32; // 1: columns 2 i and 2 i + 1 rotate together; 0: i and i + D_STATE / 2
override HAS_MIMO: u32;
override HAS_NORM: u32;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> first: array<f32>;   // dt_bias (HEADS), B_bias (HEADS * RANK, D_STATE), or mimo_x (HEADS * RANK, HEAD_DIM)
@group(0) @binding(3) var<storage, read> C_bias: array<f32>;  // (HEADS * RANK, D_STATE)
@group(0) @binding(4) var<storage, read> D: array<f32>;       // (HEADS)
@group(0) @binding(5) var<storage, read> mimo_x: array<f32>;  // (HEADS * RANK, HEAD_DIM)
@group(0) @binding(6) var<storage, read> mimo_z: array<f32>;  // (HEADS * RANK, HEAD_DIM)
@group(0) @binding(7) var<storage, read> mimo_o: array<f32>;  // (HEADS * RANK, HEAD_DIM)
@group(1) @binding(0) var<storage, read_write> state: array<f32>;

const PI = 3.14159265358979;

// Cosine and sine of 0 … 2π: WGSL's own promise no more than 2^-11.
fn turn(angle: f32) -> vec2<f32> {
  let quadrant = round(angle * 0.6366197723675814);
  let r = ((angle - quadrant * 1.5703125) - quadrant * 4.83751296997e-4) - quadrant * 7.54978995489e-8;
  let square = r * r;
  let sine = ((-1.9515295891e-4 * square + 8.3321608736e-3) * square - 1.6666654611e-1) * square * r + r;
  let cosine = ((2.443315711809948e-5 * square - 1.388731625493765e-3) * square + 4.166664568298827e-2) * square * square
    - 0.5 * square + 1.0;
  switch (u32(quadrant) & 3u) {
    case 0u: { return vec2(cosine, sine); }
    case 1u: { return vec2(-sine, cosine); }
    case 2u: { return vec2(-cosine, -sine); }
    default: { return vec2(sine, -cosine); }
  }
}

// tanh from exp, which does not cancel near 0: Cephes' polynomial below 0.625.
fn tanh_of(x: f32) -> f32 {
  let size = abs(x);
  if (size >= 0.625) {
    let u = exp(-2.0 * min(size, 40.0));
    return select(1.0, -1.0, x < 0.0) * (1.0 - u) / (1.0 + u);
  }
  let z = x * x;
  return ((((-5.70498872745e-3 * z + 2.06390887954e-2) * z - 5.37397155531e-2) * z + 1.33314422036e-1) * z
    - 3.33332819422e-1) * z * x + x;
}

fn dt_at(row: u32, head: u32) -> f32 {
  return softplus(arena[params.dt_offset + row * params.dt_stride + head] + first[head]);
}

// Columns of the pair `pair`; pairs beyond ANGLES do not rotate.
fn pair_columns(pair: u32) -> vec2<u32> {
  return select(vec2(pair, pair + D_STATE / 2u), vec2(2u * pair, 2u * pair + 1u), NEIGHBOURS == 1u);
}

fn rotation_of(row: u32, head: u32, pair: u32) -> vec2<f32> {
  if (pair >= ANGLES) {
    return vec2(1.0, 0.0);
  }
  let at = params.rotations + ((row * HEADS + head) * ANGLES + pair) * 2u;
  return vec2(arena[at], arena[at + 1u]);
}

fn rotate(rotation: vec2<f32>, x: vec2<f32>) -> vec2<f32> {
  return vec2(x.x * rotation.x - x.y * rotation.y, x.x * rotation.y + x.y * rotation.x);
}

// First column of a head's B and C.
fn bc_column(head: u32, r: u32) -> u32 {
  return (r * GROUPS + head * GROUPS / HEADS) * D_STATE;
}

// k of rank r: (B + B_bias) at a pair of columns, rotated. `first` is B_bias here.
fn key_pair(row: u32, head: u32, r: u32, columns: vec2<u32>, rotation: vec2<f32>) -> vec2<f32> {
  let at = params.b_offset + row * params.b_stride + bc_column(head, r);
  let bias = (head * RANK + r) * D_STATE;
  return rotate(rotation, vec2(arena[at + columns.x] + first[bias + columns.x], arena[at + columns.y] + first[bias + columns.y]));
}

fn query_pair(row: u32, head: u32, r: u32, columns: vec2<u32>, rotation: vec2<f32>) -> vec2<f32> {
  let at = params.c_offset + row * params.c_stride + bc_column(head, r);
  let bias = (head * RANK + r) * D_STATE;
  return rotate(rotation, vec2(arena[at + columns.x] + C_bias[bias + columns.x], arena[at + columns.y] + C_bias[bias + columns.y]));
}

// A thread an angle of a head: θ over all tokens. The thread of angle 0 also writes the head's factors. State: angles.
@compute @workgroup_size(64)
fn mamba3_angles(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid) * 64u + thread;
  let s = index % ANGLES;
  let head = (index / ANGLES) % HEADS;
  let b = index / (ANGLES * HEADS);
  if (b >= params.batch) {
    return;
  }
  let state_at = params.state_offset + b * params.state_stride + head * ANGLES + s;
  var angle = state[state_at];
  for (var t = 0u; t < params.length; t += 1u) {
    let row = b * params.length + t;
    let dt = dt_at(row, head);
    angle += PI * dt * tanh_of(arena[params.angle_offset + row * params.angle_stride + s]);
    angle -= 2.0 * PI * floor(angle / (2.0 * PI));
    let rotation = turn(angle);
    let at = params.rotations + ((row * HEADS + head) * ANGLES + s) * 2u;
    arena[at] = rotation.x;
    arena[at + 1u] = rotation.y;
    if (s == 0u) {
      let a = arena[params.a_offset + row * params.a_stride + head];
      let positive = select(max(a, 0.0) + 1.0 / (1.0 - min(a, 0.0)), softplus(a), SOFTPLUS_DECAY == 1u);
      let alpha = exp(dt * min(-positive, -params.a_floor));
      let trap = arena[params.trap_offset + row * params.trap_stride + head];
      let lambda = 1.0 / (1.0 + exp(min(-trap, 88.0)));
      let factors = params.factors + (row * HEADS + head) * 3u;
      arena[factors] = alpha;
      arena[factors + 1u] = alpha * (1.0 - lambda) * dt;
      arena[factors + 2u] = lambda * dt;
    }
  }
  state[state_at] = angle;
}

// A thread a row of h. State: h.
@compute @workgroup_size(64)
fn mamba3_scan(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid) * 64u + thread;
  let channel = index % (HEADS * HEAD_DIM);
  let b = index / (HEADS * HEAD_DIM);
  if (b >= params.batch) {
    return;
  }
  let head = channel / HEAD_DIM;
  let p = channel % HEAD_DIM;
  let state_at = params.state_offset + b * params.state_stride + channel * D_STATE;
  var h: array<f32, D_STATE>;
  var v: array<f32, RANK>;
  var o: array<f32, RANK>;

  // The decay of the first token, and what the token before it still adds.
  let begin = params.factors + (b * params.length * HEADS + head) * 3u;
  for (var r = 0u; r < RANK; r += 1u) {
    v[r] = arena[params.values_offset + b * params.values_stride + (head * RANK + r) * HEAD_DIM + p];
  }
  for (var n = 0u; n < D_STATE; n += 1u) {
    var past = 0.0;
    for (var r = 0u; r < RANK; r += 1u) {
      past += v[r] * arena[params.keys_offset + b * params.keys_stride + (head * RANK + r) * D_STATE + n];
    }
    h[n] = arena[begin] * state[state_at + n] + arena[begin + 1u] * past;
  }

  for (var t = 0u; t < params.length; t += 1u) {
    let row = b * params.length + t;
    let at = params.factors + (row * HEADS + head) * 3u;
    let present = arena[at + 2u];
    // What the next token does first is done at once, while k ⊗ v is at hand.
    var alpha = 1.0;
    var beta = 0.0;
    if (t + 1u < params.length) {
      alpha = arena[at + 3u * HEADS];
      beta = arena[at + 3u * HEADS + 1u];
    }
    let x = arena[params.x_offset + row * params.x_stride + channel];
    for (var r = 0u; r < RANK; r += 1u) {
      v[r] = x;
      if (HAS_MIMO == 1u) {
        v[r] *= mimo_x[(head * RANK + r) * HEAD_DIM + p];
      }
      o[r] = D[head] * v[r];
    }
    for (var pair = 0u; pair < D_STATE / 2u; pair += 1u) {
      let columns = pair_columns(pair);
      let rotation = rotation_of(row, head, pair);
      var kv = vec2(0.0, 0.0);
      for (var r = 0u; r < RANK; r += 1u) {
        kv += v[r] * key_pair(row, head, r, columns, rotation);
      }
      let next = vec2(h[columns.x], h[columns.y]) + present * kv;
      for (var r = 0u; r < RANK; r += 1u) {
        o[r] += dot(next, query_pair(row, head, r, columns, rotation));
      }
      h[columns.x] = alpha * next.x + beta * kv.x;
      h[columns.y] = alpha * next.y + beta * kv.y;
    }
    if (D_STATE % 2u == 1u) {
      let n = D_STATE - 1u;
      let alone = vec2(1.0, 0.0);
      var kv = 0.0;
      for (var r = 0u; r < RANK; r += 1u) {
        kv += v[r] * key_pair(row, head, r, vec2(n, n), alone).x;
      }
      let next = h[n] + present * kv;
      for (var r = 0u; r < RANK; r += 1u) {
        o[r] += next * query_pair(row, head, r, vec2(n, n), alone).x;
      }
      h[n] = alpha * next + beta * kv;
    }
    if (HAS_NORM == 1u) {
      for (var r = 0u; r < RANK; r += 1u) {
        arena[params.outputs + ((row * HEADS + head) * RANK + r) * HEAD_DIM + p] = o[r];
      }
    } else {
      let z = arena[params.z_offset + row * params.z_stride + channel];
      var y = 0.0;
      for (var r = 0u; r < RANK; r += 1u) {
        if (HAS_MIMO == 1u) {
          let mimo = (head * RANK + r) * HEAD_DIM + p;
          y += mimo_o[mimo] * o[r] * silu(z * mimo_z[mimo]);
        } else {
          y += o[r] * silu(z);
        }
      }
      arena[params.y_offset + row * params.y_stride + channel] = y;
    }
  }
  for (var n = 0u; n < D_STATE; n += 1u) {
    state[state_at + n] = h[n];
  }
}

// With a norm over each head: a thread a head of a token. `first` is the norm's weight here.
@compute @workgroup_size(64)
fn mamba3_output(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid) * 64u + thread;
  let head = index % HEADS;
  let row = index / HEADS;
  if (row >= params.batch * params.length) {
    return;
  }
  var scales: array<f32, RANK>;
  let outputs = params.outputs + index * RANK * HEAD_DIM;
  for (var r = 0u; r < RANK; r += 1u) {
    var squares = 0.0;
    for (var p = 0u; p < HEAD_DIM; p += 1u) {
      let o = arena[outputs + r * HEAD_DIM + p];
      squares += o * o;
    }
    scales[r] = 1.0 / sqrt(squares / f32(HEAD_DIM) + params.eps);
  }
  for (var p = 0u; p < HEAD_DIM; p += 1u) {
    let channel = head * HEAD_DIM + p;
    let z = arena[params.z_offset + row * params.z_stride + channel];
    var y = 0.0;
    for (var r = 0u; r < RANK; r += 1u) {
      let o = arena[outputs + r * HEAD_DIM + p] * scales[r];
      if (HAS_MIMO == 1u) {
        let mimo = (head * RANK + r) * HEAD_DIM + p;
        y += mimo_o[mimo] * o * silu(z * mimo_z[mimo]);
      } else {
        y += o * silu(z);
      }
    }
    arena[params.y_offset + row * params.y_stride + channel] = y * first[channel];
  }
}

// The last token's k, a thread a pair of columns of one rank of a head. `first` is B_bias. State: keys.
@compute @workgroup_size(64)
fn mamba3_keys(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let pairs = (D_STATE + 1u) / 2u;
  let index = workgroup_index(workgroup, grid) * 64u + thread;
  let pair = index % pairs;
  let r = (index / pairs) % RANK;
  let head = (index / (pairs * RANK)) % HEADS;
  let b = index / (pairs * RANK * HEADS);
  if (b >= params.batch) {
    return;
  }
  let row = (b + 1u) * params.length - 1u;
  // An odd number of columns leaves the last one alone.
  let columns = min(pair_columns(pair), vec2(D_STATE - 1u));
  let k = key_pair(row, head, r, columns, rotation_of(row, head, pair));
  let state_at = params.state_offset + b * params.state_stride + (head * RANK + r) * D_STATE;
  state[state_at + columns.x] = k.x;
  state[state_at + columns.y] = k.y;
}

// The last token's v. `first` is mimo_x. State: values.
@compute @workgroup_size(64)
fn mamba3_values(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid) * 64u + thread;
  let size = HEADS * RANK * HEAD_DIM;
  let place = index % size;
  let b = index / size;
  if (b >= params.batch) {
    return;
  }
  let row = (b + 1u) * params.length - 1u;
  let channel = place / (RANK * HEAD_DIM) * HEAD_DIM + place % HEAD_DIM;
  var v = arena[params.x_offset + row * params.x_stride + channel];
  if (HAS_MIMO == 1u) {
    v *= first[place];
  }
  state[params.state_offset + b * params.state_stride + place] = v;
}
