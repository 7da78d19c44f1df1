// ssd_output: y = Y_diag + Y_off + D x, gated by z;
//   Y_diag[i] = Σ_{j≤i} exp(Σ_{j<k≤i} dt A) (C[i] · B[j]) dt[j] x[j];  Y_off[i] = exp(Σ_{k≤i} dt A) (S_prev C[i])
// Source:   Mamba-2 (arXiv:2405.21060) §6, listing 1, steps 1 and 4.
// Grid:     a workgroup a (b, chunk, head) and 64 × 64 tile of (Q, headDim) (tile.wgsl).
var<private> chunk: Chunk;
var<private> head: u32;
var<private> group: u32;
var<private> first_i: u32;
var<private> first_p: u32;
// The two products are one along k: first tokens_k tokens j (Y_diag), then dState values n (Y_off).
var<private> tokens_k: u32;

fn diagonal_at(i: u32, j: u32) -> f32 {
  // Above the diagonal the scores are not written and the exponent is positive.
  if (j > i || i >= chunk.tokens) {
    return 0.0;
  }
  let score = arena[params.scores + ((chunk.sequence_chunk * params.groups + group) * params.chunk + i) * params.chunk + j];
  let row = chunk.first_row + j;
  let decay = exp(sum_at(chunk.first_row + i, head) - sum_at(row, head));
  return decay * arena[params.dts + row * params.heads + head] * score;
}

fn x_tile_at(p: u32, j: u32) -> f32 {
  if (p >= params.head_dim || j >= chunk.tokens) {
    return 0.0;
  }
  return x_at(chunk.first_row + j, head * params.head_dim + p);
}

fn start_at(p: u32, n: u32) -> f32 {
  if (p >= params.head_dim || n >= params.d_state) {
    return 0.0;
  }
  return arena[end_at(chunk.sequence_chunk, head * params.head_dim + p) + n];
}

fn c_at(i: u32, n: u32) -> f32 {
  if (i >= chunk.tokens || n >= params.d_state) {
    return 0.0;
  }
  return arena[params.c_offset + (chunk.first_row + i) * params.c_stride + group * params.d_state + n];
}

fn tile_a(row: u32, k: u32) -> vec4<f32> {
  let i = first_i + row;
  if (k < tokens_k) {
    return vec4<f32>(diagonal_at(i, k), diagonal_at(i, k + 1u), diagonal_at(i, k + 2u), diagonal_at(i, k + 3u));
  }
  let n = k - tokens_k;
  let decay = exp(sum_at(chunk.first_row + min(i, chunk.tokens - 1u), head));
  return decay * vec4<f32>(c_at(i, n), c_at(i, n + 1u), c_at(i, n + 2u), c_at(i, n + 3u));
}

fn tile_b(col: u32, k: u32) -> vec4<f32> {
  let p = first_p + col;
  if (k < tokens_k) {
    return vec4<f32>(x_tile_at(p, k), x_tile_at(p, k + 1u), x_tile_at(p, k + 2u), x_tile_at(p, k + 3u));
  }
  let n = k - tokens_k;
  return vec4<f32>(start_at(p, n), start_at(p, n + 1u), start_at(p, n + 2u), start_at(p, n + 3u));
}

fn write_row(sums: vec4<f32>, thread: u32, r: u32) {
  let i = first_i + tile_row(thread, r);
  for (var s = 0u; s < 4u; s += 1u) {
    let p = first_p + tile_col(thread, s);
    if (i < chunk.tokens && p < params.head_dim) {
      write_y(chunk.first_row + i, head, head * params.head_dim + p, sums[s]);
    }
  }
}

@compute @workgroup_size(128)
fn ssd_output(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid);
  let tiles_p = (params.head_dim + TILE - 1u) / TILE;
  let tiles_i = (params.chunk + TILE - 1u) / TILE;
  let chunk_head = index / (tiles_p * tiles_i);
  if (chunk_head >= params.batch * params.chunks * params.heads) {
    return;
  }
  // Decisions come from values of the workgroup alone, as the barriers of tile_product must be reached by all.
  let own_first_i = (index / tiles_p % tiles_i) * TILE;
  let own_chunk = chunk_at(chunk_head / params.heads);
  if (own_first_i >= own_chunk.tokens) {
    return;
  }
  first_p = (index % tiles_p) * TILE;
  first_i = own_first_i;
  head = chunk_head % params.heads;
  group = head * params.groups / params.heads;
  chunk = own_chunk;
  let own_tokens_k = (min(own_first_i + TILE, own_chunk.tokens) + TILE_K - 1u) / TILE_K * TILE_K;
  tokens_k = own_tokens_k;
  var acc = tile_product(own_tokens_k + params.d_state, thread);
  for (var i = 0u; i < 8u; i += 1u) {
    write_row(acc[i], thread, i);
  }
}
