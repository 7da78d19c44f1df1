// The two kernels of ssd over chunks that are no matrix products; see ssd.webgpu.ts for their order.
// Source:   Mamba-2 (arXiv:2405.21060) §6, listing 1, steps "A_cumsum" and 3.
// Numerics: f32; both walk in the order of the tokens.

var<workgroup> partial_sums: array<f32, 64>;

// ssd_decay: dt of each token, and Σ dt A from the chunk's start up to it.
// Grid: a workgroup a (b, chunk, head); a thread sums up neighbouring tokens, then goes on from where those before it end.
@compute @workgroup_size(64)
fn ssd_decay(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid);
  if (index >= params.batch * params.chunks * params.heads) {
    return;
  }
  let head = index % params.heads;
  let chunk = chunk_at(index / params.heads);
  let each = (chunk.tokens + 63u) / 64u;
  let first = min(thread * each, chunk.tokens);
  let end = min(first + each, chunk.tokens);
  var own = 0.0;
  for (var t = first; t < end; t += 1u) {
    let row = chunk.first_row + t;
    let dt = dt_at(row, head);
    own += dt * A[head];
    arena[params.dts + row * params.heads + head] = dt;
  }
  partial_sums[thread] = own;
  workgroupBarrier();
  var sum = 0.0;
  for (var before = 0u; before < thread; before += 1u) {
    sum += partial_sums[before];
  }
  for (var t = first; t < end; t += 1u) {
    let at = (chunk.first_row + t) * params.heads + head;
    sum += arena[params.dts + at] * A[head];
    arena[params.sums + at] = sum;
  }
}

// ssd_combine: S = exp(Σ dt A) S_prev + S_c over the chunks; leaves S_prev where S_c was, and the last S in the state.
// Grid: a thread a (b, head, headDim, dState).
@compute @workgroup_size(64)
fn ssd_combine(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid) * 64u + thread;
  let size = params.heads * params.head_dim * params.d_state;
  let b = index / size;
  if (b >= params.batch) {
    return;
  }
  let value = index % size;
  let head = value / (params.head_dim * params.d_state);
  let state_at = params.state_offset + b * params.state_stride + value;
  var h = state[state_at];
  for (var c = 0u; c < params.chunks; c += 1u) {
    let chunk = chunk_at(b * params.chunks + c);
    let at = end_at(chunk.sequence_chunk, 0u) + value;
    let end = arena[at];
    arena[at] = h;
    h = exp(sum_at(chunk.first_row + chunk.tokens - 1u, head)) * h + end;
  }
  state[state_at] = h;
}
