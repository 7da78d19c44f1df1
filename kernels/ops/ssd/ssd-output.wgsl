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

// Σ dt A and dt of the chunk's tokens.
var<workgroup> sums: array<f32, MOST_TOKENS>;
var<workgroup> dts: array<f32, MOST_TOKENS>;

// Values i … i + 3 of `four` that are below `count`, zeros for the rest. Loads are not skipped but their values dropped: a
// branch would have each wait for the one before.
fn below(four: vec4<f32>, i: u32, count: u32) -> vec4<f32> {
  return select(vec4<f32>(), four, vec4<u32>(i) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(count));
}

fn four_at(at: u32) -> vec4<f32> {
  return vec4<f32>(arena[at], arena[at + 1u], arena[at + 2u], arena[at + 3u]);
}

fn tile_a(row: u32, k: u32) -> vec4<f32> {
  let i = first_i + row;
  if (k < tokens_k) {
    let scores = four_at(params.scores + ((chunk.sequence_chunk * params.groups + group) * params.chunk + i) * params.chunk + k);
    let decays = exp(vec4<f32>(sums[i]) - vec4<f32>(sums[k], sums[k + 1u], sums[k + 2u], sums[k + 3u]));
    // Above the diagonal the scores are not written and the exponent is positive.
    let values = decays * vec4<f32>(dts[k], dts[k + 1u], dts[k + 2u], dts[k + 3u]) * scores;
    return below(values, k, select(0u, i + 1u, i < chunk.tokens));
  }
  let n = k - tokens_k;
  let c = four_at(params.c_offset + (chunk.first_row + i) * params.c_stride + group * params.d_state + n);
  return exp(sums[i]) * below(c, n, select(0u, params.d_state, i < chunk.tokens));
}

fn tile_b(col: u32, k: u32) -> vec4<f32> {
  let p = first_p + col;
  if (k < tokens_k) {
    let at = params.x_offset + (chunk.first_row + k) * params.x_stride + head * params.head_dim + p;
    let stride = params.x_stride;
    let x = vec4<f32>(arena[at], arena[at + stride], arena[at + 2u * stride], arena[at + 3u * stride]);
    return below(x, k, select(0u, chunk.tokens, p < params.head_dim));
  }
  let n = k - tokens_k;
  let start = four_at(end_at(chunk.sequence_chunk, head * params.head_dim + p) + n);
  return below(start, n, select(0u, params.d_state, p < params.head_dim));
}

fn write_row(four: vec4<f32>, thread: u32, r: u32) {
  let i = first_i + tile_row(thread, r);
  for (var s = 0u; s < 4u; s += 1u) {
    let p = first_p + tile_col(thread, s);
    if (i < chunk.tokens && p < params.head_dim) {
      write_y(chunk.first_row + i, head, head * params.head_dim + p, four[s]);
    }
  }
}

@compute @workgroup_size(MOST_TOKENS)
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
  let row = own_chunk.first_row + min(thread, own_chunk.tokens - 1u);
  sums[thread] = sum_at(row, head);
  dts[thread] = arena[per_token(params.dts, row, head)];
  workgroupBarrier();
  let own_tokens_k = (min(own_first_i + TILE, own_chunk.tokens) + TILE_K - 1u) / TILE_K * TILE_K;
  tokens_k = own_tokens_k;
  var acc = tile_product(own_tokens_k + params.d_state, thread);
  for (var i = 0u; i < 8u; i += 1u) {
    write_row(acc[i], thread, i);
  }
}
