// ssd_ends: what each chunk can compute by itself, before any state is known:
//   dt of each token, and Σ dt A from the chunk's start up to it;
//   S_c = Σ_j exp(Σ_{k>j} dt A) dt[j] x[j] ⊗ B[j], the state it leaves when it starts from zero;
//   C Bᵀ, (Q, Q) a group; tiles above the diagonal are left out.
// Source:   Mamba-2 (arXiv:2405.21060) §6, listing 1, steps "A_cumsum", 2 and 1.
// Grid:     a workgroup a (b, chunk, head) and 64 × 64 tile of (headDim, dState) (tile.wgsl); behind those one a (b, chunk,
//           group) and tile of (Q, Q). One dispatch, as the few workgroups of the second kind would not fill a GPU.
// Numerics: f32; Σ dt A in pairs, pairs of pairs and so on (Hillis & Steele 1986).
var<private> chunk: Chunk;
var<private> head: u32;
var<private> group: u32;
var<private> is_score: bool;
var<private> first_a: u32;  // row of the tile: p or i
var<private> first_b: u32;  // column: n or j

// Σ dt A up to each token: what a step of the scan reads, and what it writes; then exp(Σ_{k>j} dt A) dt[j].
var<workgroup> scan: array<array<f32, MOST_TOKENS>, 2>;
var<workgroup> factors: array<f32, MOST_TOKENS>;

// Values i … i + 3 of `four` that are below `count`, zeros for the rest. Loads are not skipped but their values dropped: a
// branch would have each wait for the one before.
fn below(four: vec4<f32>, i: u32, count: u32) -> vec4<f32> {
  return select(vec4<f32>(), four, vec4<u32>(i) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(count));
}

// Of the tokens j … j + 3 the values at `at`, which is the place of j's.
fn of_tokens(at: u32, stride: u32, j: u32) -> vec4<f32> {
  let four = vec4<f32>(arena[at], arena[at + stride], arena[at + 2u * stride], arena[at + 3u * stride]);
  return below(four, j, chunk.tokens);
}

// Of a token the values n … n + 3 of the dState, the first of which is at `at`.
fn of_state(at: u32, n: u32, token: u32) -> vec4<f32> {
  let four = vec4<f32>(arena[at], arena[at + 1u], arena[at + 2u], arena[at + 3u]);
  return below(four, n, select(0u, params.d_state, token < chunk.tokens));
}

fn tile_a(row: u32, k: u32) -> vec4<f32> {
  let a = first_a + row;
  if (is_score) {
    return of_state(params.c_offset + (chunk.first_row + a) * params.c_stride + group * params.d_state + k, k, a);
  }
  let x = of_tokens(params.x_offset + (chunk.first_row + k) * params.x_stride + head * params.head_dim + a, params.x_stride, k);
  let decay = vec4<f32>(factors[k], factors[k + 1u], factors[k + 2u], factors[k + 3u]);
  return select(vec4<f32>(), decay * x, a < params.head_dim);
}

fn tile_b(col: u32, k: u32) -> vec4<f32> {
  let b = first_b + col;
  if (is_score) {
    return of_state(params.b_offset + (chunk.first_row + b) * params.b_stride + group * params.d_state + k, k, b);
  }
  let at = params.b_offset + (chunk.first_row + k) * params.b_stride + group * params.d_state + b;
  return select(vec4<f32>(), of_tokens(at, params.b_stride, k), b < params.d_state);
}

fn write_row(sums: vec4<f32>, thread: u32, r: u32) {
  let a = first_a + tile_row(thread, r);
  for (var s = 0u; s < 4u; s += 1u) {
    let b = first_b + tile_col(thread, s);
    if (is_score && a < chunk.tokens && b < chunk.tokens) {
      let matrix = chunk.sequence_chunk * params.groups + group;
      arena[params.scores + (matrix * params.chunk + a) * params.chunk + b] = sums[s];
    }
    if (!is_score && a < params.head_dim && b < params.d_state) {
      arena[end_at(chunk.sequence_chunk, head * params.head_dim + a) + b] = sums[s];
    }
  }
}

@compute @workgroup_size(MOST_TOKENS)
fn ssd_ends(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  // Decisions come from values of the workgroup alone, as the barriers must be reached by all: private variables are none.
  let index = workgroup_index(workgroup, grid);
  let chunks = params.batch * params.chunks;
  let tiles_n = (params.d_state + TILE - 1u) / TILE;
  let tiles_p = (params.head_dim + TILE - 1u) / TILE;
  let tiles_q = (params.chunk + TILE - 1u) / TILE;
  let ends = chunks * params.heads * tiles_n * tiles_p;
  let scores = index >= ends;
  let score = index - ends;
  let tile_i = score / tiles_q % tiles_q;
  let tile_j = score % tiles_q;
  let chunk_group = score / (tiles_q * tiles_q);
  if (scores && (tile_j > tile_i || chunk_group >= chunks * params.groups)) {
    return;
  }
  let chunk_head = index / (tiles_n * tiles_p);
  let own_chunk = chunk_at(select(chunk_head / params.heads, chunk_group / params.groups, scores));
  chunk = own_chunk;
  is_score = scores;
  head = chunk_head % params.heads;
  group = select(head * params.groups / params.heads, chunk_group % params.groups, scores);
  first_a = select(index / tiles_n % tiles_p, tile_i, scores) * TILE;
  first_b = select(index % tiles_n, tile_j, scores) * TILE;
  if (!scores) {
    let row = own_chunk.first_row + min(thread, own_chunk.tokens - 1u);
    let dt = dt_at(row, head);
    var sum = select(0.0, dt * A[head], thread < own_chunk.tokens);
    scan[0][thread] = sum;
    workgroupBarrier();
    for (var step = 0u; step < SCAN_STEPS; step += 1u) {
      let reach = 1u << step;
      if (thread >= reach) {
        sum += scan[step % 2u][thread - reach];
      }
      scan[(step + 1u) % 2u][thread] = sum;
      workgroupBarrier();
    }
    factors[thread] = exp(scan[SCAN_STEPS % 2u][MOST_TOKENS - 1u] - sum) * dt;
    workgroupBarrier();
    if (first_a == 0u && first_b == 0u && thread < own_chunk.tokens) {
      arena[per_token(params.dts, row, head)] = dt;
      arena[per_token(params.sums, row, head)] = sum;
    }
  }
  var acc = tile_product(select(own_chunk.tokens, params.d_state, scores), thread);
  for (var i = 0u; i < 8u; i += 1u) {
    write_row(acc[i], thread, i);
  }
}
