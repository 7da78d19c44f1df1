// block_linear: y[t, r] = Σ_k W[r, k] x[t, b K + k] + bias[r], b = ⌊r / block_rows⌋ the block of row r
// Source:   Griffin (arXiv:2402.19427) §2.4 and others; memory bound, as linear.wgsl is.
// Grid:     a team of TEAM lanes computes a row of W times 4 rows of x; TEAMS teams a workgroup. Lanes stride over the row
//           by 16 bytes. A matrix that is split over buffers is one dispatch a part.
// Numerics: f32 throughout; lane sums, then the team's sum in a fixed order.
struct Params {
  rows: u32,  // of x
  x_offset: u32,
  x_stride: u32,
  y_offset: u32,
  y_stride: u32,
  first_row: u32,  // of W, in this part
  part_rows: u32,
  block_rows: u32,   // of W, R
  k: u32,            // columns of W
  row_vectors: u32,  // 16-byte vectors a packed row
  scale_words: u32,  // words of what a row's blocks share
  has_bias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;    // x: (rows, nBlock * K); y: (rows, nBlock * R)
@group(0) @binding(2) var<storage, read> values: array<vec4<u32>>;   // (part_rows, K) packed
@group(0) @binding(3) var<storage, read> scales: array<u32>;         // (part_rows, scale_words), see unpack.wgsl
@group(0) @binding(4) var<storage, read> bias: array<f32>;           // (nBlock * R)

// Values k … k + 3 of a block of row `row` of x. What lies beyond K is another block's, or anything, and is read as 0.
fn x_at(row: u32, column: u32, k: u32) -> vec4<f32> {
  let at = params.x_offset + min(row, params.rows - 1u) * params.x_stride + column + k;
  return vec4<f32>(
    select(0.0, arena[at], k < params.k),
    select(0.0, arena[at + 1u], k + 1u < params.k),
    select(0.0, arena[at + 2u], k + 2u < params.k),
    select(0.0, arena[at + 3u], k + 3u < params.k),
  );
}

@compute @workgroup_size(TEAM * TEAMS)
fn block_linear(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let team = workgroup_index(workgroup, grid) * TEAMS + thread / TEAM;
  // Teams beyond the end repeat a row and write nothing: they must reach the barriers.
  let row = team % params.part_rows;
  let first_x = team / params.part_rows * 4u;
  let column = (params.first_row + row) / params.block_rows * params.k;

  var acc = vec4<f32>();
  for (var v = thread % TEAM; v < params.row_vectors; v += TEAM) {
    let packed = values[row * params.row_vectors + v];
    let block = block_of(row * params.scale_words, v);
    for (var quarter = 0u; quarter < VALUES / 4u; quarter += 1u) {
      let w = four_weights(packed, block, quarter);
      let k = v * VALUES + 4u * quarter;
      acc.x += dot(w, x_at(first_x, column, k));
      if (params.rows > 1u) {
        acc.y += dot(w, x_at(first_x + 1u, column, k));
        acc.z += dot(w, x_at(first_x + 2u, column, k));
        acc.w += dot(w, x_at(first_x + 3u, column, k));
      }
    }
  }
  let sums = team_sums(acc, thread);
  for (var i = thread % TEAM; i < 4u; i += TEAM) {
    if (first_x + i < params.rows) {
      let out = params.first_row + row;
      var sum = sums[i];
      if (params.has_bias == 1u) {
        sum += bias[out];
      }
      arena[params.y_offset + (first_x + i) * params.y_stride + out] = sum;
    }
  }
}
