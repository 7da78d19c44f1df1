// ssd_combine: S = exp(Σ dt A) S_prev + S_c over the chunks; leaves S_prev where S_c was, and the last S in the state.
// Source:   Mamba-2 (arXiv:2405.21060) §6, listing 1, step 3.
// Grid:     a thread a (b, head, headDim, dState).
// Numerics: f32, in the order of the chunks.
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
