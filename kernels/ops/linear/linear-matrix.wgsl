// linear_matrix: y = x Wᵀ + bias + residual for many rows of x by the products of whole subgroups (tensor cores).
// This is what its entry point, which matrix-product.ts writes out, shares.
// Source:   blocked matrix product; W is unpacked once for TILE_ROWS rows of x.
// Grid:     one workgroup of GRID_ROWS × GRID_COLS subgroups a tile of TILE_ROWS rows of x times TILE_COLS rows of W. Each
//           subgroup has DOWN × ACROSS matrices of MATRIX_M × MATRIX_N sums. A W that is split over buffers is one dispatch
//           a part.
// Numerics: x in f16 parts (linear-halves.wgsl), W rounded to f16, products exact, sums f32.
// The arena is declared by arena-vectors.wgsl or arena-scalars.wgsl.
struct Params {
  rows: u32,    // of x
  halves: u32,  // x as linear_halves left it
  scales_of_x: u32,
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
@group(0) @binding(2) var<storage, read> values: array<vec4<u32>>;   // (part_rows, K) packed
@group(0) @binding(3) var<storage, read> scales: array<u32>;         // (part_rows, scale_words), see unpack.wgsl
@group(0) @binding(4) var<storage, read> bias: array<f32>;           // (R)

alias Left = subgroup_matrix_left<f16, MATRIX_K, MATRIX_M>;
alias Right = subgroup_matrix_right<f16, MATRIX_N, MATRIX_K>;
alias Sums = subgroup_matrix_result<f32, MATRIX_N, MATRIX_M>;

const TILE_ROWS = GRID_ROWS * DOWN * MATRIX_M;
const TILE_COLS = GRID_COLS * ACROSS * MATRIX_N;
const TILE_K = 32u;
// Values from one row of a tile in workgroup memory to the next: 8 of padding, so that rows lie in different banks.
const ROW = TILE_K + 8u;
const SUM_ROW = MATRIX_N + 4u;

var<workgroup> x_memory: array<f16, PARTS * TILE_ROWS * ROW>;
var<workgroup> w_memory: array<f16, TILE_COLS * ROW>;
var<workgroup> sum_memory: array<f32, GRID_ROWS * GRID_COLS * MATRIX_M * SUM_ROW>;

// Eight values of W in 16 bytes of it that hold them, as f16.
struct Eight {
  low: vec4<f16>,
  high: vec4<f16>,
}

// Weights beyond f16 would be infinities, and their products with 0 no numbers.
fn to_f16(four: vec4<f32>) -> vec4<f16> {
  return vec4<f16>(clamp(four, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
}

// Values k … k + 7 of row w_row out of the 16 bytes that hold them.
fn eight_weights(packed: vec4<u32>, w_row: u32, k: u32) -> Eight {
  if (DTYPE == F16) {
    return Eight(bitcast<vec4<f16>>(packed.xy), bitcast<vec4<f16>>(packed.zw));
  }
  let block = block_of(w_row * params.scale_words, k / VALUES);
  let quarter = (k % VALUES) / 4u;
  return Eight(
    to_f16(four_weights(packed, block, quarter)),
    to_f16(four_weights(packed, block, quarter + 1u)),
  );
}

// The 16 bytes that hold values k … k + 7 of a row of W, zeros beyond it: x is 0 there, but padding may be no number.
fn packed_at(w_row: u32, k: u32) -> vec4<u32> {
  if (w_row >= params.part_rows || k >= params.k) {
    return vec4<u32>();
  }
  return values[w_row * params.row_vectors + k / VALUES];
}

// Where values k … k + 7 of a part of a row of x lie. Rows beyond the last are the last: their sums are not written.
fn half_at(part: u32, row: u32, k: u32) -> u32 {
  let row_words = (params.k + TILE_K - 1u) / TILE_K * (TILE_K / 2u);
  return params.halves + (part * params.rows + min(row, params.rows - 1u)) * row_words + k / 2u;
}

// A matrix of sums, from `first` of sum_memory on, into y: four columns a lane at a time.
fn write_sums(first: u32, lane: u32, first_x: u32, first_w: u32) {
  for (var quad = lane; quad < MATRIX_M * MATRIX_N / 4u; quad += SUBGROUP) {
    let row = quad / (MATRIX_N / 4u);
    let col = quad % (MATRIX_N / 4u) * 4u;
    let x_row = first_x + row;
    let w_row = first_w + col;
    if (x_row >= params.rows || w_row >= params.part_rows) {
      continue;
    }
    let at = first + row * SUM_ROW + col;
    let out = params.first_row + w_row;
    let count = min(4u, params.part_rows - w_row);
    var four = vec4<f32>(sum_memory[at], sum_memory[at + 1u], sum_memory[at + 2u], sum_memory[at + 3u]);
    four *= arena_one(params.scales_of_x + x_row);
    if (params.has_bias == 1u) {
      for (var i = 0u; i < count; i += 1u) {
        four[i] += bias[out + i];
      }
    }
    if (params.has_residual == 1u) {
      four += bitcast<vec4<f32>>(arena_four(params.residual_offset + x_row * params.residual_stride + out));
    }
    keep_four(params.y_offset + x_row * params.y_stride + out, four, count);
  }
}
