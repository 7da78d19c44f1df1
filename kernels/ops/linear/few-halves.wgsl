// few_halves: what stands before a product, a norm or gate or nothing, as f16 for few-matrix.wgsl and linear-matrix.wgsl, by
// round-x.wgsl.
// Grid:     a workgroup of THREADS threads a row; few-halves.ts writes the entry point.
// Numerics: f32, then the rounding; a row with an infinity or a NaN stays one.
struct Params {
  k: u32,  // columns of x
  rows: u32,
  x_offset: u32,
  x_stride: u32,
  z_offset: u32,
  z_stride: u32,
  halves: u32,       // scratch: (PARTS, rows, row_words) words of two f16; zeros from K on
  scales_of_x: u32,  // scratch: what a row's sums are to be multiplied by, (rows)
  row_words: u32,    // a multiple of 4
  divisor: f32,  // of the sum of squares
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// The arena (binding 1) is arena-vectors.wgsl or arena-scalars.wgsl.
@group(0) @binding(2) var<storage, read> norm_weight: array<f32>;      // (K)

const GROUPS = THREADS / SUBGROUP;
var<workgroup> most_of: array<u32, GROUPS>;
var<workgroup> squares_of: array<f32, GROUPS>;

// f of columns k … k + 3. Without a branch around the loads, so that those of several columns are under way together.
fn factors_at(row: u32, k: u32) -> Factors {
  let is_there = vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(params.k);
  let x = bitcast<vec4<f32>>(arena_four(params.x_offset + row * params.x_stride + k));
  var z = vec4<f32>();
  if (GATED == 1u) {
    z = bitcast<vec4<f32>>(arena_four(params.z_offset + row * params.z_stride + k));
  }
  var norm_weights = vec4<f32>();
  if (HAS_NORM_WEIGHT == 1u) {
    norm_weights = vec4<f32>(norm_weight[k], norm_weight[k + 1u], norm_weight[k + 2u], norm_weight[k + 3u]);
  }
  return factors_of(x, z, norm_weights, is_there);
}

// p of a row, from what each thread has of it; writes what its sums are to be multiplied by.
fn scale_of_row(row: u32, thread: u32, most_of_thread: u32, squares_of_thread: f32) -> f32 {
  var most = subgroupMax(most_of_thread);
  var squares = subgroupAdd(squares_of_thread);
  if (thread % SUBGROUP == 0u) {
    most_of[thread / SUBGROUP] = most;
    squares_of[thread / SUBGROUP] = squares;
  }
  workgroupBarrier();
  squares = 0.0;
  for (var group = 0u; group < GROUPS; group += 1u) {
    most = max(most, most_of[group]);
    squares += squares_of[group];
  }
  let scale = scale_for(most);
  if (thread == 0u) {
    arena_put_one(params.scales_of_x + row, factor_for(scale, squares));
  }
  return scale;
}

// The eight values of a piece, where the row has it.
fn keep(row: u32, piece: u32, low: vec4<f32>, high: vec4<f32>) {
  if (4u * piece >= params.row_words) {
    return;
  }
  let to = (params.halves + row * params.row_words) / 4u + piece;
  let eight = rounded(low, high);
  arena_put_vector(to, eight.first);
  if (PARTS == 2u) {
    arena_put_vector(to + params.rows * params.row_words / 4u, eight.second);
  }
}
