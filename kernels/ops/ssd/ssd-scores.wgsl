// ssd_scores: C Bᵀ of each chunk, (Q, Q) a (b, chunk, group); tiles above the diagonal are left out.
// Source:   Mamba-2 (arXiv:2405.21060) §6, listing 1, step 1.
// Grid:     a workgroup a (b, chunk, group) and 64 × 64 tile (tile.wgsl).
var<private> chunk: Chunk;
var<private> group: u32;
var<private> first_i: u32;
var<private> first_j: u32;

fn four(at: u32, n: u32, valid: bool) -> vec4<f32> {
  if (!valid) {
    return vec4<f32>();
  }
  return vec4<f32>(
    select(0.0, arena[at], n < params.d_state),
    select(0.0, arena[at + 1u], n + 1u < params.d_state),
    select(0.0, arena[at + 2u], n + 2u < params.d_state),
    select(0.0, arena[at + 3u], n + 3u < params.d_state),
  );
}

fn tile_a(row: u32, n: u32) -> vec4<f32> {
  let i = first_i + row;
  let at = params.c_offset + (chunk.first_row + i) * params.c_stride + group * params.d_state + n;
  return four(at, n, i < chunk.tokens);
}

fn tile_b(col: u32, n: u32) -> vec4<f32> {
  let j = first_j + col;
  let at = params.b_offset + (chunk.first_row + j) * params.b_stride + group * params.d_state + n;
  return four(at, n, j < chunk.tokens);
}

fn write_row(sums: vec4<f32>, thread: u32, r: u32) {
  let i = first_i + tile_row(thread, r);
  for (var s = 0u; s < 4u; s += 1u) {
    let j = first_j + tile_col(thread, s);
    if (i < chunk.tokens && j < chunk.tokens) {
      let matrix = chunk.sequence_chunk * params.groups + group;
      arena[params.scores + (matrix * params.chunk + i) * params.chunk + j] = sums[s];
    }
  }
}

@compute @workgroup_size(128)
fn ssd_scores(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  // Decisions come from values of the workgroup alone, as the barriers of tile_product must be reached by all.
  let index = workgroup_index(workgroup, grid);
  let tiles = (params.chunk + TILE - 1u) / TILE;
  let tile_j = index % tiles;
  let tile_i = index / tiles % tiles;
  let chunk_group = index / (tiles * tiles);
  if (tile_j > tile_i || chunk_group >= params.batch * params.chunks * params.groups) {
    return;
  }
  first_j = tile_j * TILE;
  first_i = tile_i * TILE;
  group = chunk_group % params.groups;
  chunk = chunk_at(chunk_group / params.groups);
  var acc = tile_product(params.d_state, thread);
  for (var i = 0u; i < 8u; i += 1u) {
    write_row(acc[i], thread, i);
  }
}
