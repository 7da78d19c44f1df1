// selective_scan: dt = softplus(dtRaw + dtBias); h[t] = exp(dt A) ⊙ h[t−1] + dt B[t] x[t];
//                 y[t] = (C[t] · h[t] + D x[t]) · silu(z[t])
// Source:   Mamba (arXiv:2312.00752) algorithm 2; over chunks: Blelloch's scan with (a, b) ∘ (a′, b′) = (a a′, a′ b + b′).
// Grid:     a thread a (b, chunk, channel) with its dState values of h in registers, 64 channels a workgroup.
//           One chunk (decode, short prompts): selective_scan alone, from state to state.
//           More: selective_scan_ends takes each chunk from h = 0 to its end, selective_scan_combine (a thread a
//           (b, channel, n)) walks the ends in order into true starts, selective_scan goes again from those.
// Numerics: f32 state; Π exp(dt A) over a chunk is exp(A Σ dt).
override D_INNER: u32;
override GROUPS: u32;
override HAS_DT_BIAS: u32;
override DT_SOFTPLUS: u32;
override HAS_D: u32;
override HAS_Z: u32;

struct Params {
  batch: u32,
  length: u32,  // T
  chunk: u32,   // tokens of a chunk
  chunks: u32,
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
  sums: u32,  // scratch: Σ dt, (B, chunks, dInner)
  ends: u32,  // scratch: h at the end, then at the start of a chunk, (B, chunks, dState, dInner)
}

@group(0) @binding(0) var<uniform> params: Params;
// x, dtRaw, z, y: (B * T, dInner); B, C: (B * T, nGroup * dState); scratch
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;
@group(0) @binding(2) var<storage, read> A: array<f32>;            // (dInner, dState), negative
@group(0) @binding(3) var<storage, read> dt_bias: array<f32>;      // (dInner)
@group(0) @binding(4) var<storage, read> D: array<f32>;            // (dInner)
@group(1) @binding(0) var<storage, read_write> state: array<f32>;  // h: (B, dInner, dState)

// A thread's place; `valid` is false beyond the last.
struct Place {
  valid: bool,
  b: u32,
  chunk: u32,
  d: u32,
}

fn place_of(workgroup: vec3<u32>, grid: vec3<u32>, thread: u32) -> Place {
  let pieces = (D_INNER + 63u) / 64u;
  let index = workgroup_index(workgroup, grid);
  let d = (index % pieces) * 64u + thread;
  let sequence_chunk = index / pieces;
  let valid = d < D_INNER && sequence_chunk < params.batch * params.chunks;
  return Place(valid, sequence_chunk / params.chunks, sequence_chunk % params.chunks, d);
}

fn dt_at(row: u32, d: u32) -> f32 {
  var dt = arena[params.dt_offset + row * params.dt_stride + d];
  if (HAS_DT_BIAS == 1u) {
    dt += dt_bias[d];
  }
  if (DT_SOFTPLUS == 1u) {
    dt = softplus(dt);
  }
  return dt;
}

fn end_at(b: u32, chunk: u32, n: u32, d: u32) -> u32 {
  return params.ends + ((b * params.chunks + chunk) * D_STATE + n) * D_INNER + d;
}

@compute @workgroup_size(64)
fn selective_scan(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = place_of(workgroup, grid, thread);
  if (!at.valid) {
    return;
  }
  let state_at = params.state_offset + at.b * params.state_stride + at.d * D_STATE;
  var h: array<f32, D_STATE>;
  for (var n = 0u; n < D_STATE; n += 1u) {
    if (params.chunks == 1u) {
      h[n] = state[state_at + n];
    } else {
      h[n] = arena[end_at(at.b, at.chunk, n, at.d)];
    }
  }
  let group = at.d * GROUPS / D_INNER;
  let t_end = min((at.chunk + 1u) * params.chunk, params.length);
  for (var t = at.chunk * params.chunk; t < t_end; t += 1u) {
    let row = at.b * params.length + t;
    let x = arena[params.x_offset + row * params.x_stride + at.d];
    let dt = dt_at(row, at.d);
    let B = params.b_offset + row * params.b_stride + group * D_STATE;
    let C = params.c_offset + row * params.c_stride + group * D_STATE;
    var y = 0.0;
    for (var n = 0u; n < D_STATE; n += 1u) {
      h[n] = exp(dt * A[at.d * D_STATE + n]) * h[n] + dt * arena[B + n] * x;
      y += arena[C + n] * h[n];
    }
    if (HAS_D == 1u) {
      y += D[at.d] * x;
    }
    if (HAS_Z == 1u) {
      y *= silu(arena[params.z_offset + row * params.z_stride + at.d]);
    }
    arena[params.y_offset + row * params.y_stride + at.d] = y;
  }
  if (params.chunks == 1u) {
    for (var n = 0u; n < D_STATE; n += 1u) {
      state[state_at + n] = h[n];
    }
  }
}

@compute @workgroup_size(64)
fn selective_scan_ends(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = place_of(workgroup, grid, thread);
  if (!at.valid) {
    return;
  }
  var h: array<f32, D_STATE>;
  var dt_sum = 0.0;
  let group = at.d * GROUPS / D_INNER;
  let t_end = min((at.chunk + 1u) * params.chunk, params.length);
  for (var t = at.chunk * params.chunk; t < t_end; t += 1u) {
    let row = at.b * params.length + t;
    let x = arena[params.x_offset + row * params.x_stride + at.d];
    let dt = dt_at(row, at.d);
    let B = params.b_offset + row * params.b_stride + group * D_STATE;
    dt_sum += dt;
    for (var n = 0u; n < D_STATE; n += 1u) {
      h[n] = exp(dt * A[at.d * D_STATE + n]) * h[n] + dt * arena[B + n] * x;
    }
  }
  arena[params.sums + (at.b * params.chunks + at.chunk) * D_INNER + at.d] = dt_sum;
  for (var n = 0u; n < D_STATE; n += 1u) {
    arena[end_at(at.b, at.chunk, n, at.d)] = h[n];
  }
}

@compute @workgroup_size(64)
fn selective_scan_combine(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid) * 64u + thread;
  let d = index % D_INNER;
  let n = (index / D_INNER) % D_STATE;
  let b = index / (D_INNER * D_STATE);
  if (b >= params.batch) {
    return;
  }
  let state_at = params.state_offset + b * params.state_stride + d * D_STATE + n;
  let a = A[d * D_STATE + n];
  var h = state[state_at];
  for (var chunk = 0u; chunk < params.chunks; chunk += 1u) {
    let at = end_at(b, chunk, n, d);
    let end = arena[at];
    arena[at] = h;
    h = exp(a * arena[params.sums + (b * params.chunks + chunk) * D_INNER + d]) * h + end;
  }
  state[state_at] = h;
}
