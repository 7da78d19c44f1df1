// ssd_ends: S_c = Σ_j exp(Σ_{k>j} dt A) dt[j] x[j] ⊗ B[j], the state a chunk leaves when it starts from zero.
// Source:   Mamba-2 (arXiv:2405.21060) §6, listing 1, step 2.
// Grid:     a workgroup a (b, chunk, head) and 64 × 64 tile of (headDim, dState) (tile.wgsl).
var<private> chunk: Chunk;
var<private> head: u32;
var<private> first_p: u32;
var<private> first_n: u32;

fn a_at(p: u32, j: u32) -> f32 {
  if (p >= params.head_dim || j >= chunk.tokens) {
    return 0.0;
  }
  let row = chunk.first_row + j;
  let decay = exp(sum_at(chunk.first_row + chunk.tokens - 1u, head) - sum_at(row, head));
  return decay * arena[params.dts + row * params.heads + head] * x_at(row, head * params.head_dim + p);
}

fn b_at(n: u32, j: u32) -> f32 {
  if (n >= params.d_state || j >= chunk.tokens) {
    return 0.0;
  }
  let group = head * params.groups / params.heads;
  return arena[params.b_offset + (chunk.first_row + j) * params.b_stride + group * params.d_state + n];
}

fn tile_a(row: u32, j: u32) -> vec4<f32> {
  let p = first_p + row;
  return vec4<f32>(a_at(p, j), a_at(p, j + 1u), a_at(p, j + 2u), a_at(p, j + 3u));
}

fn tile_b(col: u32, j: u32) -> vec4<f32> {
  let n = first_n + col;
  return vec4<f32>(b_at(n, j), b_at(n, j + 1u), b_at(n, j + 2u), b_at(n, j + 3u));
}

fn write_row(sums: vec4<f32>, thread: u32, r: u32) {
  let p = first_p + tile_row(thread, r);
  for (var s = 0u; s < 4u; s += 1u) {
    let n = first_n + tile_col(thread, s);
    if (p < params.head_dim && n < params.d_state) {
      arena[end_at(chunk.sequence_chunk, head * params.head_dim + p) + n] = sums[s];
    }
  }
}

@compute @workgroup_size(128)
fn ssd_ends(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid);
  let tiles_n = (params.d_state + TILE - 1u) / TILE;
  let tiles_p = (params.head_dim + TILE - 1u) / TILE;
  first_n = (index % tiles_n) * TILE;
  first_p = (index / tiles_n % tiles_p) * TILE;
  let chunk_head = index / (tiles_n * tiles_p);
  if (chunk_head >= params.batch * params.chunks * params.heads) {
    return;
  }
  head = chunk_head % params.heads;
  // The loop of tile_product has barriers: its end must be a value of the workgroup, which a private variable is not.
  let own_chunk = chunk_at(chunk_head / params.heads);
  chunk = own_chunk;
  var acc = tile_product(own_chunk.tokens, thread);
  for (var i = 0u; i < 8u; i += 1u) {
    write_row(acc[i], thread, i);
  }
}
