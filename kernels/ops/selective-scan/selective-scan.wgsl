// selective_scan: dt = softplus(dtRaw + dtBias); h[t] = exp(dt A) ⊙ h[t−1] + dt B[t] x[t];
//                 y[t] = (C[t] · h[t] + D x[t]) · silu(z[t])
// Source:   Mamba (arXiv:2312.00752) algorithm 2; over chunks: Blelloch's scan with (a, b) ∘ (a′, b′) = (a a′, a′ b + b′).
// Grid:     for T > 1 (selective-scan-step.wgsl is T = 1): a thread a (b, chunk, channel) with its dState values of h in
//           registers, 64 channels a workgroup, which read B and C together where they have the same (STAGED).
//           One chunk (short prompts): selective_scan alone, from state to state.
//           More: selective_scan_ends takes each chunk from h = 0 to its end, selective_scan_combine (a thread a
//           (b, channel, n)) walks the ends in order into true starts, selective_scan goes again from those.
// Numerics: f32 state; Π exp(dt A) over a chunk is exp(A Σ dt).
override D_INNER: u32;
override GROUPS: u32;
override HAS_DT_BIAS: u32;
override DT_SOFTPLUS: u32;
override HAS_D: u32;
override HAS_Z: u32;
override STAGED: u32;

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

// dState values in vectors; what is beyond is 0 in all operands, and stays 0 in h.
const N4 = (D_STATE + 3u) / 4u;

// B and C of the next STAGE tokens.
var<workgroup> b_rows: array<vec4<f32>, STAGE * N4>;
var<workgroup> c_rows: array<vec4<f32>, STAGE * N4>;

// What all threads of a workgroup have: their sequence and chunk, and its tokens.
struct Chunk {
  b: u32,
  index: u32,
  begin: u32,
  end: u32,
}

fn chunk_of(sequence_chunk: u32) -> Chunk {
  let index = sequence_chunk % params.chunks;
  let end = min((index + 1u) * params.chunk, params.length);
  return Chunk(sequence_chunk / params.chunks, index, index * params.chunk, end);
}

// Values 4 i … of the dState at `first` of the arena.
fn four_at(first: u32, i: u32) -> vec4<f32> {
  let n = 4u * i;
  var four = vec4<f32>();
  for (var j = 0u; j < min(4u, D_STATE - n); j += 1u) {
    four[j] = arena[first + n + j];
  }
  return four;
}

// The same of A, times log2(e): exp is exp2 then.
fn a_at(d: u32, i: u32) -> vec4<f32> {
  let n = 4u * i;
  var four = vec4<f32>();
  for (var j = 0u; j < min(4u, D_STATE - n); j += 1u) {
    four[j] = 1.4426950408889634 * A[d * D_STATE + n + j];
  }
  return four;
}

fn group_of(d: u32) -> u32 {
  return d * GROUPS / D_INNER;
}

fn b_first(row: u32, group: u32) -> u32 {
  return params.b_offset + row * params.b_stride + group * D_STATE;
}

fn c_first(row: u32, group: u32) -> u32 {
  return params.c_offset + row * params.c_stride + group * D_STATE;
}

fn bring_b(chunk: Chunk, from_token: u32, group: u32, thread: u32) {
  for (var i = thread; i < STAGE * N4; i += 64u) {
    let t = from_token + i / N4;
    if (t < chunk.end) {
      b_rows[i] = four_at(b_first(chunk.b * params.length + t, group), i % N4);
    }
  }
}

fn bring_c(chunk: Chunk, from_token: u32, group: u32, thread: u32) {
  for (var i = thread; i < STAGE * N4; i += 64u) {
    let t = from_token + i / N4;
    if (t < chunk.end) {
      c_rows[i] = four_at(c_first(chunk.b * params.length + t, group), i % N4);
    }
  }
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
  let pieces = (D_INNER + 63u) / 64u;
  let index = workgroup_index(workgroup, grid);
  if (index >= pieces * params.batch * params.chunks) {
    return;
  }
  let chunk = chunk_of(index / pieces);
  let valid = (index % pieces) * 64u + thread < D_INNER;
  // Threads beyond the last channel take it too, to reach the barriers, and write nothing.
  let d = min((index % pieces) * 64u + thread, D_INNER - 1u);
  let group = group_of(d);
  let state_at = params.state_offset + chunk.b * params.state_stride + d * D_STATE;
  var a: array<vec4<f32>, N4>;
  var h: array<vec4<f32>, N4>;
  for (var i = 0u; i < N4; i += 1u) {
    a[i] = a_at(d, i);
    for (var j = 0u; j < min(4u, D_STATE - 4u * i); j += 1u) {
      if (params.chunks == 1u) {
        h[i][j] = state[state_at + 4u * i + j];
      } else {
        h[i][j] = arena[end_at(chunk.b, chunk.index, 4u * i + j, d)];
      }
    }
  }
  for (var first = chunk.begin; first < chunk.end; first += STAGE) {
    if (STAGED == 1u) {
      bring_b(chunk, first, group, thread);
      bring_c(chunk, first, group, thread);
      workgroupBarrier();
    }
    for (var t = first; t < min(first + STAGE, chunk.end); t += 1u) {
      let row = chunk.b * params.length + t;
      let x = arena[params.x_offset + row * params.x_stride + d];
      let dt = dt_at(row, d);
      let dt_x = dt * x;
      var y = 0.0;
      for (var i = 0u; i < N4; i += 1u) {
        var b: vec4<f32>;
        var c: vec4<f32>;
        if (STAGED == 1u) {
          b = b_rows[(t - first) * N4 + i];
          c = c_rows[(t - first) * N4 + i];
        } else {
          b = four_at(b_first(row, group), i);
          c = four_at(c_first(row, group), i);
        }
        h[i] = exp2(dt * a[i]) * h[i] + dt_x * b;
        y += dot(c, h[i]);
      }
      if (HAS_D == 1u) {
        y += D[d] * x;
      }
      if (HAS_Z == 1u) {
        y *= silu(arena[params.z_offset + row * params.z_stride + d]);
      }
      if (valid) {
        arena[params.y_offset + row * params.y_stride + d] = y;
      }
    }
    if (STAGED == 1u) {
      workgroupBarrier();
    }
  }
  if (params.chunks == 1u && valid) {
    for (var n = 0u; n < D_STATE; n += 1u) {
      state[state_at + n] = h[n / 4u][n % 4u];
    }
  }
}

@compute @workgroup_size(64)
fn selective_scan_ends(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let pieces = (D_INNER + 63u) / 64u;
  let index = workgroup_index(workgroup, grid);
  if (index >= pieces * params.batch * params.chunks) {
    return;
  }
  let chunk = chunk_of(index / pieces);
  let valid = (index % pieces) * 64u + thread < D_INNER;
  let d = min((index % pieces) * 64u + thread, D_INNER - 1u);
  let group = group_of(d);
  var a: array<vec4<f32>, N4>;
  var h: array<vec4<f32>, N4>;
  for (var i = 0u; i < N4; i += 1u) {
    a[i] = a_at(d, i);
  }
  var dt_sum = 0.0;
  for (var first = chunk.begin; first < chunk.end; first += STAGE) {
    if (STAGED == 1u) {
      bring_b(chunk, first, group, thread);
      workgroupBarrier();
    }
    for (var t = first; t < min(first + STAGE, chunk.end); t += 1u) {
      let row = chunk.b * params.length + t;
      let x = arena[params.x_offset + row * params.x_stride + d];
      let dt = dt_at(row, d);
      dt_sum += dt;
      for (var i = 0u; i < N4; i += 1u) {
        var b: vec4<f32>;
        if (STAGED == 1u) {
          b = b_rows[(t - first) * N4 + i];
        } else {
          b = four_at(b_first(row, group), i);
        }
        h[i] = exp2(dt * a[i]) * h[i] + dt * x * b;
      }
    }
    if (STAGED == 1u) {
      workgroupBarrier();
    }
  }
  if (!valid) {
    return;
  }
  arena[params.sums + (chunk.b * params.chunks + chunk.index) * D_INNER + d] = dt_sum;
  for (var n = 0u; n < D_STATE; n += 1u) {
    arena[end_at(chunk.b, chunk.index, n, d)] = h[n / 4u][n % 4u];
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
