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
    select(0.0, arena[at], n < D_STATE),
    select(0.0, arena[at + 1u], n + 1u < D_STATE),
    select(0.0, arena[at + 2u], n + 2u < D_STATE),
    select(0.0, arena[at + 3u], n + 3u < D_STATE),
  );
}

fn tile_a(row: u32, n: u32) -> vec4<f32> {
  let i = first_i + row;
  let at = params.c_offset + (chunk.first_row + i) * params.c_stride + group * D_STATE + n;
  return four(at, n, i < chunk.tokens);
}

fn tile_b(col: u32, n: u32) -> vec4<f32> {
  let j = first_j + col;
  let at = params.b_offset + (chunk.first_row + j) * params.b_stride + group * D_STATE + n;
  return four(at, n, j < chunk.tokens);
}

@compute @workgroup_size(256)
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
  if (tile_j > tile_i || chunk_group >= params.batch * params.chunks * GROUPS) {
    return;
  }
  first_j = tile_j * TILE;
  first_i = tile_i * TILE;
  group = chunk_group % GROUPS;
  chunk = chunk_at(chunk_group / GROUPS);
  var acc: Tile;
  tile_product(&acc, D_STATE, thread);
  for (var r = 0u; r < 4u; r += 1u) {
    let i = first_i + thread / 16u + 16u * r;
    for (var s = 0u; s < 4u; s += 1u) {
      let j = first_j + thread % 16u + 16u * s;
      if (i < chunk.tokens && j < chunk.tokens) {
        arena[params.scores + (chunk_group * params.chunk + i) * params.chunk + j] = acc[r][s];
      }
    }
  }
}
