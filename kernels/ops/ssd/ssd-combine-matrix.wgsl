// ssd_combine_matrix: S = exp(Σ dt A) S_prev + S_c over the chunks; leaves S_prev as f16, and the last S in the state.
// Source:   Mamba-2 (arXiv:2405.21060) §6, listing 1, step 3.
// Grid:     a subgroup a (b, channel), each lane with four of its dState values; ROWS to a workgroup.
// Numerics: f32, in the order of the chunks; f16 with a power of two for each (b, chunk, channel).
@compute @workgroup_size(ROWS * SUBGROUP)
fn ssd_combine_matrix(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let channels = params.heads * params.head_dim;
  let first = workgroup_index(workgroup, grid) * ROWS;
  let b = first / channels;
  if (b >= params.batch) {
    return;
  }
  let channel = first % channels + subgroup;
  let head = channel / params.head_dim;
  let n = 4u * lane;
  let state_at = params.state_offset + b * params.state_stride + channel * D_STATE + n;
  var h = vec4<f32>(state[state_at], state[state_at + 1u], state[state_at + 2u], state[state_at + 3u]);
  let between = channels * D_STATE;
  var next = arena_values(end_at(b * params.chunks, channel) + n);
  for (var c = 0u; c < params.chunks; c += 1u) {
    let chunk = chunk_at(b * params.chunks + c);
    let at = end_at(chunk.sequence_chunk, channel) + n;
    // The next chunk's is on its way while this one's is added: it cannot be known here that what is written is not what is read.
    let end = next;
    if (c + 1u < params.chunks) {
      next = arena_values(at + between);
    }
    let decay = exp(sum_at(chunk.first_row + chunk.tokens - 1u, head));
    let scale = arena_one(params.end_scales + chunk.sequence_chunk * (channels / TILE_P) + channel / TILE_P);
    let most = subgroupMax(largest_of(h));
    let halves = bitcast<vec2<u32>>(vec4<f16>(scale_for(most, LARGEST) * h));
    let to = start_at(chunk.sequence_chunk, channel, n);
    let half = n % 8u / 2u;
    arena[to][half] = halves.x;
    arena[to][half + 1u] = halves.y;
    if (n == 0u) {
      arena_put_one(params.most_of_starts + chunk.sequence_chunk * channels + channel, most);
    }
    h = decay * h + scale * end;
  }
  state[state_at] = h.x;
  state[state_at + 1u] = h.y;
  state[state_at + 2u] = h.z;
  state[state_at + 3u] = h.w;
}
