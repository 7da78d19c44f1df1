// ssd_output: y = Y_diag + Y_off + D x, gated by z;
//   Y_diag[i] = Σ_{j≤i} exp(Σ_{j<k≤i} dt A) (C[i] · B[j]) dt[j] x[j];  Y_off[i] = exp(Σ_{k≤i} dt A) (S_prev C[i])
// Source:   Mamba-2 (arXiv:2405.21060) §6, listing 1, steps 1 and 4.
// Grid:     a workgroup a (b, chunk, head) and 64 × 64 tile of (Q, headDim) (tile.wgsl); both products go into the
//           same sums.
var<private> chunk: Chunk;
var<private> head: u32;
var<private> group: u32;
var<private> first_i: u32;
var<private> first_p: u32;
var<private> diagonal: bool;  // which of the two products tile_a and tile_b feed

fn diagonal_at(i: u32, j: u32) -> f32 {
  // Above the diagonal the scores are not written and the exponent is positive.
  if (j > i || i >= chunk.tokens) {
    return 0.0;
  }
  let score = arena[params.scores + ((chunk.sequence_chunk * GROUPS + group) * params.chunk + i) * params.chunk + j];
  let row = chunk.first_row + j;
  let decay = exp(sum_at(chunk.first_row + i, head) - sum_at(row, head));
  return decay * arena[params.dts + row * HEADS + head] * score;
}

fn x_tile_at(p: u32, j: u32) -> f32 {
  if (p >= HEAD_DIM || j >= chunk.tokens) {
    return 0.0;
  }
  return x_at(chunk.first_row + j, head * HEAD_DIM + p);
}

fn start_at(p: u32, n: u32) -> f32 {
  if (p >= HEAD_DIM || n >= D_STATE) {
    return 0.0;
  }
  return arena[end_at(chunk.sequence_chunk, head * HEAD_DIM + p) + n];
}

fn c_at(i: u32, n: u32) -> f32 {
  if (i >= chunk.tokens || n >= D_STATE) {
    return 0.0;
  }
  return arena[params.c_offset + (chunk.first_row + i) * params.c_stride + group * D_STATE + n];
}

fn tile_a(row: u32, k: u32) -> vec4<f32> {
  let i = first_i + row;
  if (diagonal) {
    return vec4<f32>(diagonal_at(i, k), diagonal_at(i, k + 1u), diagonal_at(i, k + 2u), diagonal_at(i, k + 3u));
  }
  let decay = exp(sum_at(chunk.first_row + min(i, chunk.tokens - 1u), head));
  return decay * vec4<f32>(c_at(i, k), c_at(i, k + 1u), c_at(i, k + 2u), c_at(i, k + 3u));
}

fn tile_b(col: u32, k: u32) -> vec4<f32> {
  let p = first_p + col;
  if (diagonal) {
    return vec4<f32>(x_tile_at(p, k), x_tile_at(p, k + 1u), x_tile_at(p, k + 2u), x_tile_at(p, k + 3u));
  }
  return vec4<f32>(start_at(p, k), start_at(p, k + 1u), start_at(p, k + 2u), start_at(p, k + 3u));
}

@compute @workgroup_size(256)
fn ssd_output(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid);
  let tiles_p = (HEAD_DIM + TILE - 1u) / TILE;
  let tiles_i = (params.chunk + TILE - 1u) / TILE;
  let chunk_head = index / (tiles_p * tiles_i);
  if (chunk_head >= params.batch * params.chunks * HEADS) {
    return;
  }
  // Decisions come from values of the workgroup alone, as the barriers of tile_product must be reached by all.
  let own_first_i = (index / tiles_p % tiles_i) * TILE;
  let own_chunk = chunk_at(chunk_head / HEADS);
  if (own_first_i >= own_chunk.tokens) {
    return;
  }
  first_p = (index % tiles_p) * TILE;
  first_i = own_first_i;
  head = chunk_head % HEADS;
  group = head * GROUPS / HEADS;
  chunk = own_chunk;
  var acc: Tile;
  diagonal = true;
  tile_product(&acc, min(own_first_i + TILE, own_chunk.tokens), thread);
  diagonal = false;
  tile_product(&acc, D_STATE, thread);
  for (var r = 0u; r < 4u; r += 1u) {
    let i = first_i + thread / 16u + 16u * r;
    for (var s = 0u; s < 4u; s += 1u) {
      let p = first_p + thread % 16u + 16u * s;
      if (i < chunk.tokens && p < HEAD_DIM) {
        write_y(chunk.first_row + i, head, head * HEAD_DIM + p, acc[r][s]);
      }
    }
  }
}
