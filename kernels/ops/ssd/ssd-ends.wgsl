// ssd_ends: S_c = Σ_j exp(Σ_{k>j} dt A) dt[j] x[j] ⊗ B[j], the state a chunk leaves when it starts from zero.
// Source:   Mamba-2 (arXiv:2405.21060) §6, listing 1, step 2.
// Grid:     a workgroup a (b, chunk, head) and 64 × 64 tile of (headDim, dState) (tile.wgsl).
var<private> chunk: Chunk;
var<private> head: u32;
var<private> first_p: u32;
var<private> first_n: u32;

fn a_at(p: u32, j: u32) -> f32 {
  if (p >= HEAD_DIM || j >= chunk.tokens) {
    return 0.0;
  }
  let row = chunk.first_row + j;
  let decay = exp(sum_at(chunk.first_row + chunk.tokens - 1u, head) - sum_at(row, head));
  return decay * arena[params.dts + row * HEADS + head] * x_at(row, head * HEAD_DIM + p);
}

fn b_at(n: u32, j: u32) -> f32 {
  if (n >= D_STATE || j >= chunk.tokens) {
    return 0.0;
  }
  let group = head * GROUPS / HEADS;
  return arena[params.b_offset + (chunk.first_row + j) * params.b_stride + group * D_STATE + n];
}

fn tile_a(row: u32, j: u32) -> vec4<f32> {
  let p = first_p + row;
  return vec4<f32>(a_at(p, j), a_at(p, j + 1u), a_at(p, j + 2u), a_at(p, j + 3u));
}

fn tile_b(col: u32, j: u32) -> vec4<f32> {
  let n = first_n + col;
  return vec4<f32>(b_at(n, j), b_at(n, j + 1u), b_at(n, j + 2u), b_at(n, j + 3u));
}

@compute @workgroup_size(256)
fn ssd_ends(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid);
  let tiles_n = (D_STATE + TILE - 1u) / TILE;
  let tiles_p = (HEAD_DIM + TILE - 1u) / TILE;
  first_n = (index % tiles_n) * TILE;
  first_p = (index / tiles_n % tiles_p) * TILE;
  let chunk_head = index / (tiles_n * tiles_p);
  if (chunk_head >= params.batch * params.chunks * HEADS) {
    return;
  }
  head = chunk_head % HEADS;
  // The loop of tile_product has barriers: its end must be a value of the workgroup, which a private variable is not.
  let own_chunk = chunk_at(chunk_head / HEADS);
  chunk = own_chunk;
  var acc: Tile;
  tile_product(&acc, own_chunk.tokens, thread);
  for (var r = 0u; r < 4u; r += 1u) {
    let p = first_p + thread / 16u + 16u * r;
    for (var s = 0u; s < 4u; s += 1u) {
      let n = first_n + thread % 16u + 16u * s;
      if (p < HEAD_DIM && n < D_STATE) {
        arena[end_at(chunk.sequence_chunk, head * HEAD_DIM + p) + n] = acc[r][s];
      }
    }
  }
}
