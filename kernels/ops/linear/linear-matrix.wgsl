// linear_matrix: y = x Wᵀ + bias + residual for many rows of x by the products of whole subgroups (tensor cores).
// This is what its entry point, which matrix-product.ts writes out, shares.
// Source:   blocked matrix product; W is unpacked once for a tile's rows of x.
// Grid:     one workgroup a tile of rows of x times rows of W and, where tiles are too few for a GPU, a stretch of columns
//           (a split), whose sums linear-splits.wgsl adds up. A W that is split over buffers is one dispatch a part.
// Numerics: x in f16 parts (few-halves.wgsl), W rounded to f16, products exact, sums f32.
// The arena is declared by arena-vectors.wgsl or arena-scalars.wgsl.
struct Params {
  rows: u32,    // of x
  halves: u32,  // x as few_halves left it
  half_words: u32,  // words of a row of that
  scales_of_x: u32,
  y_offset: u32,  // scratch: (splits, rows, y_stride) where there are several
  y_stride: u32,
  residual_offset: u32,
  residual_stride: u32,
  first_row: u32,  // of W, in this part
  part_rows: u32,
  k: u32,              // columns of W
  splits: u32,
  split_columns: u32,  // of each
  row_vectors: u32,    // 16-byte vectors a packed row
  scale_words: u32,    // words of what a row's blocks share
  has_bias: u32,
  has_residual: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> values: array<vec4<u32>>;   // (part_rows, K) packed
@group(0) @binding(3) var<storage, read> scales: array<u32>;         // (part_rows, scale_words), see unpack.wgsl
@group(0) @binding(4) var<storage, read> bias: array<f32>;           // (R)

alias Left = subgroup_matrix_left<f16, MATRIX_K, MATRIX_M>;
alias Right = subgroup_matrix_right<f16, MATRIX_N, MATRIX_K>;
alias Sums = subgroup_matrix_result<f32, MATRIX_N, MATRIX_M>;

// What eight values of W are made of: the 16 bytes that hold them, and what they share.
struct Piece {
  packed: vec4<u32>,
  block: Block,
}

// What is beyond the last row of x or W is whatever lies there: it goes into sums that are not written. Of columns beyond the
// last x is 0, and W must be a number.

// The 16 bytes that hold values k … k + 7 of the row of W whose first lie at `first`.
fn packed_at(first: u32, k: u32) -> vec4<u32> {
  return select(vec4<u32>(), values[first + k / VALUES], k < params.k);
}

fn piece_at(w_row: u32, k: u32) -> Piece {
  if (k >= params.k) {
    return Piece();
  }
  return Piece(packed_at(w_row * params.row_vectors, k), block_of(w_row * params.scale_words, k / VALUES));
}

// Its values as f16.
fn eight_weights(piece: Piece, k: u32) -> vec4<u32> {
  let quarter = (k % VALUES) / 4u;
  let low = to_f16(four_weights(piece.packed, piece.block, quarter));
  let high = to_f16(four_weights(piece.packed, piece.block, quarter + 1u));
  return vec4<u32>(bitcast<vec2<u32>>(low), bitcast<vec2<u32>>(high));
}

// Weights beyond f16 would be infinities, and their products with 0 no numbers.
fn to_f16(four: vec4<f32>) -> vec4<f16> {
  return vec4<f16>(clamp(four, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
}

// Four values of the residual in a row of x, from row w_row of W on.
fn residual_four(x_row: u32, w_row: u32) -> vec4<f32> {
  let out = params.first_row + w_row;
  return bitcast<vec4<f32>>(arena_four(params.residual_offset + x_row * params.residual_stride + out));
}

// Four sums of a row of x, from row w_row of W on, with what is to be added to them.
fn write_four(sums: vec4<f32>, residual: vec4<f32>, split: u32, x_row: u32, w_row: u32) {
  if (x_row >= params.rows || w_row >= params.part_rows) {
    return;
  }
  let out = params.first_row + w_row;
  let count = min(4u, params.part_rows - w_row);
  var four = sums;
  if (params.has_bias == 1u) {
    for (var i = 0u; i < count; i += 1u) {
      four[i] += bias[out + i];
    }
  }
  four += residual;
  keep_four(params.y_offset + (split * params.rows + x_row) * params.y_stride + out, four, count);
}
