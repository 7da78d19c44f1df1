// linear_few_matrix: y = gain · act(scale · (x Wᵀ + bias)) + residual_scale · residual for up to 16 rows of x, by the products
// of whole subgroups (tensor cores): the weights pass by once, and what they are multiplied with costs next to nothing.
// Source:   blocked matrix product with the columns split (split-K).
// Grid:     a workgroup for some blocks of 16 rows of W. It brings a tile of their columns to workgroup memory, row by row as
//           they lie, asks for the next one, and multiplies; each subgroup has columns of its own, and their sums are added
//           at the end. The entry point is written out by few-matrix.ts.
// Numerics: x in f16 parts (few-halves.wgsl, or few-ready.wgsl within), W rounded to f16, products exact, sums f32; the subgroups' in a fixed order.
override ACT: u32;

struct Params {
  rows: u32,    // of x
  halves: u32,  // x as few_halves left it
  scales_of_x: u32,
  y_offset: u32,
  y_stride: u32,
  residual_offset: u32,
  residual_stride: u32,
  first_row: u32,  // of W, in this part
  part_rows: u32,
  k: u32,            // columns of W
  row_pieces: u32,   // of a packed row, as large as a thread reads them: PackedWords
  half_words: u32,   // of a row of halves, 0 beyond K
  scale_words: u32,  // words of what a row's blocks share
  has_bias: u32,
  has_residual: u32,
  scale: f32,
  gain: f32,
  residual_scale: f32,
  conv_first: u32,     // first row of W that is a channel of the convolution
  conv_channels: u32,  // 0 for none
  conv_offset: u32,
  conv_stride: u32,
  conv_state_offset: u32,
  conv_state_stride: u32,
  // For few-ready.wgsl:
  x_offset: u32,
  x_stride: u32,
  divisor: f32,  // of the sum of squares
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<vec4<u32>>;  // of f32, but for the halves
@group(0) @binding(2) var<storage, read> values: array<PackedWords>;     // (part_rows, K) packed
@group(0) @binding(3) var<storage, read> scales: array<u32>;             // (part_rows, scale_words), see unpack.wgsl
@group(0) @binding(4) var<storage, read> bias: array<f32>;               // (R)

alias Left = subgroup_matrix_left<f16, MATRIX_K, 16>;
alias Right = subgroup_matrix_right<f16, 16, MATRIX_K>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

// What eight values of W are made of: the words that hold them, and what they share.
struct Piece {
  packed: PackedWords,
  block: Block,
}

fn arena_at(at: u32) -> f32 {
  return bitcast<f32>(arena[at / 4u][at % 4u]);
}

fn arena_put(at: u32, value: f32) {
  arena[at / 4u][at % 4u] = bitcast<u32>(value);
}

fn arena_four_at(at: u32) -> vec4<f32> {
  return vec4<f32>(arena_at(at), arena_at(at + 1u), arena_at(at + 2u), arena_at(at + 3u));
}

// What is beyond the last row of x or W is whatever lies there: it goes into sums that are not written. Of columns beyond the
// last x is 0, and W must be a number.

// Values k … k + 7 of row w_row.
fn piece_at(w_row: u32, k: u32) -> Piece {
  if (k >= params.k) {
    return Piece();
  }
  return Piece(values[w_row * params.row_pieces + k / 8u], block_of(w_row * params.scale_words, k / VALUES));
}

// As f16.
fn eight_weights(piece: Piece, k: u32) -> vec4<u32> {
  let quarter = (k % VALUES) / 4u;
  let packed = as_vector(piece.packed);
  let low = to_f16(four_weights(packed, piece.block, quarter));
  let high = to_f16(four_weights(packed, piece.block, quarter + 1u));
  return vec4<u32>(bitcast<vec2<u32>>(low), bitcast<vec2<u32>>(high));
}

// Weights beyond f16 would be infinities, and their products with 0 no numbers.
fn to_f16(four: vec4<f32>) -> vec4<f16> {
  return vec4<f16>(clamp(four, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
}

// Four sums of a row of x, from row w_row of W on, to y.
fn write_four(row: u32, w_row: u32, sums: vec4<f32>) {
  if (row >= params.rows || w_row >= params.part_rows) {
    return;
  }
  let out = params.first_row + w_row;
  var four = sums * scale_of_sums(row);
  if (params.has_bias == 1u) {
    four += vec4<f32>(bias[out], bias[out + 1u], bias[out + 2u], bias[out + 3u]);
  }
  four = params.scale * four;
  four = params.gain * vec4<f32>(
    activate(ACT, four.x),
    activate(ACT, four.y),
    activate(ACT, four.z),
    activate(ACT, four.w),
  );
  if (params.has_residual == 1u) {
    four += params.residual_scale * arena_four_at(params.residual_offset + row * params.residual_stride + out);
  }
  finish_four(row, out, four, min(4u, params.part_rows - w_row));
}
