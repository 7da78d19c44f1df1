// linear: y = x Wᵀ + bias + residual, for few rows of x (decode; see linear-tiled.wgsl for many).
// Source:   matrix-vector products; memory bound, so each packed weight is read once for X_ROWS rows of x.
// Grid:     a team of TEAM lanes computes 4 rows of W times X_ROWS (1 or 4) rows of x; TEAMS teams a workgroup. Lanes
//           stride over a row of W by 16 bytes, so a team reads consecutive memory. A matrix that is split over buffers
//           is one dispatch a part. Sums are named, not an array: arrays in a loop are memory to some compilers.
// Numerics: f32 throughout; lane sums, then the team's sum in a fixed order.
override X_ROWS: u32;
override WHOLE: u32;  // 1 if the columns of W fill its 16-byte vectors

struct Params {
  rows: u32,  // of x
  x_offset: u32,
  x_stride: u32,
  y_offset: u32,
  y_stride: u32,
  residual_offset: u32,
  residual_stride: u32,
  first_row: u32,  // of W, in this part
  part_rows: u32,
  k: u32,            // columns of W
  row_vectors: u32,  // 16-byte vectors a packed row
  scale_words: u32,  // words of what a row's blocks share
  has_bias: u32,
  has_residual: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;    // x: (rows, K); y, residual: (rows, R)
@group(0) @binding(2) var<storage, read> values: array<vec4<u32>>;   // (part_rows, K) packed
@group(0) @binding(3) var<storage, read> scales: array<u32>;         // (part_rows, scale_words), see unpack.wgsl
@group(0) @binding(4) var<storage, read> bias: array<f32>;           // (R)

// Values k … k + 3 of row `row` of x. What lies beyond K may be anything, NaN too, and is read as 0.
fn x_at(row: u32, k: u32) -> vec4<f32> {
  let at = params.x_offset + min(row, params.rows - 1u) * params.x_stride + k;
  if (WHOLE == 1u) {
    return vec4<f32>(arena[at], arena[at + 1u], arena[at + 2u], arena[at + 3u]);
  }
  return vec4<f32>(
    select(0.0, arena[at], k < params.k),
    select(0.0, arena[at + 1u], k + 1u < params.k),
    select(0.0, arena[at + 2u], k + 2u < params.k),
    select(0.0, arena[at + 3u], k + 3u < params.k),
  );
}

// The products of four columns of 4 rows of W with row `row` of x.
fn products(four: mat4x4<f32>, scale: vec4<f32>, min: vec4<f32>, row: u32, k: u32) -> vec4<f32> {
  let x = x_at(row, k);
  let sums = scale * (x * four);
  if (HAS_MIN) {
    return sums - min * (x.x + x.y + x.z + x.w);
  }
  return sums;
}

// Σ over the team of 4 rows of W times row `x_row` of x, to y. All threads of the workgroup must call.
fn write_sums(acc: vec4<f32>, x_row: u32, first_w: u32, thread: u32) {
  let sums = team_sums(acc, thread);
  if (x_row >= params.rows) {
    return;
  }
  for (var r = thread % TEAM; r < 4u; r += TEAM) {
    if (first_w + r < params.part_rows) {
      let out = params.first_row + first_w + r;
      var sum = sums[r];
      if (params.has_bias == 1u) {
        sum += bias[out];
      }
      if (params.has_residual == 1u) {
        sum += arena[params.residual_offset + x_row * params.residual_stride + out];
      }
      arena[params.y_offset + x_row * params.y_stride + out] = sum;
    }
  }
}

@compute @workgroup_size(TEAM * TEAMS)
fn linear(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let team = workgroup_index(workgroup, grid) * TEAMS + thread / TEAM;
  let row_groups = (params.part_rows + 3u) / 4u;
  let first_x = (team / row_groups) * X_ROWS;
  let first_w = (team % row_groups) * 4u;
  // Rows beyond the end are computed as the last one and not written.
  let w = min(vec4<u32>(first_w) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.part_rows - 1u));

  var acc0 = vec4<f32>();
  var acc1 = vec4<f32>();
  var acc2 = vec4<f32>();
  var acc3 = vec4<f32>();
  for (var v = thread % TEAM; v < params.row_vectors; v += TEAM) {
    let packed0 = values[w.x * params.row_vectors + v];
    let packed1 = values[w.y * params.row_vectors + v];
    let packed2 = values[w.z * params.row_vectors + v];
    let packed3 = values[w.w * params.row_vectors + v];
    let block0 = block_of(w.x * params.scale_words, v);
    let block1 = block_of(w.y * params.scale_words, v);
    let block2 = block_of(w.z * params.scale_words, v);
    let block3 = block_of(w.w * params.scale_words, v);
    let min = vec4<f32>(block0.min, block1.min, block2.min, block3.min);
    for (var quarter = 0u; quarter < VALUES / 4u; quarter += 1u) {
      let four = mat4x4<f32>(
        four_stored(packed0, block0, quarter),
        four_stored(packed1, block1, quarter),
        four_stored(packed2, block2, quarter),
        four_stored(packed3, block3, quarter),
      );
      let scale = vec4<f32>(
        scale_in(block0, quarter),
        scale_in(block1, quarter),
        scale_in(block2, quarter),
        scale_in(block3, quarter),
      );
      let k = v * VALUES + 4u * quarter;
      acc0 += products(four, scale, min, first_x, k);
      if (X_ROWS > 1u) {
        acc1 += products(four, scale, min, first_x + 1u, k);
        acc2 += products(four, scale, min, first_x + 2u, k);
        acc3 += products(four, scale, min, first_x + 3u, k);
      }
    }
  }
  write_sums(acc0, first_x, first_w, thread);
  if (X_ROWS > 1u) {
    write_sums(acc1, first_x + 1u, first_w, thread);
    write_sums(acc2, first_x + 2u, first_w, thread);
    write_sums(acc3, first_x + 3u, first_w, thread);
  }
}
