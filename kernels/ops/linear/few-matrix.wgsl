// linear_few_matrix: y = gain · act(scale · (x Wᵀ + bias)) + residual_scale · residual for up to 16 rows of x, by the products
// of whole subgroups (tensor cores): the weights pass by once, and what they are multiplied with costs next to nothing.
// Source:   blocked matrix product with the columns split (split-K).
// Grid:     a workgroup of 8 subgroups for ACROSS · 16 rows of W. They bring 256 columns to workgroup memory, row by row as
//           they lie, ask for the next ones, and multiply 32 columns each. The entry point is written out by few-matrix.ts.
// Numerics: x in f16 parts (few-halves.wgsl), W rounded to f16, products exact, sums f32; the subgroups' in a fixed order.
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
  row_words: u32,    // of a packed row
  half_words: u32,   // of a row of halves
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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<u32>;  // of f32, but for the halves
@group(0) @binding(2) var<storage, read> values: array<u32>;             // (part_rows, K) packed
@group(0) @binding(3) var<storage, read> scales: array<u32>;             // (part_rows, scale_words), see unpack.wgsl
@group(0) @binding(4) var<storage, read> bias: array<f32>;               // (R)

alias Left = subgroup_matrix_left<f16, MATRIX_K, 16>;
alias Right = subgroup_matrix_right<f16, 16, MATRIX_K>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

const SUBGROUPS = 8u;
const TILE_K = 256u;
// Values from one row of a tile in workgroup memory to the next: 8 of padding, so that rows lie in different banks.
const ROW = TILE_K + 8u;
const SUM_ROW = 20u;

var<workgroup> x_memory: array<f16, PARTS * 16u * ROW>;
var<workgroup> w_memory: array<f16, ACROSS * 16u * ROW>;
var<workgroup> sum_memory: array<f32, SUBGROUPS * 16u * SUM_ROW>;

fn arena_at(at: u32) -> f32 {
  return bitcast<f32>(arena[at]);
}

fn arena_put(at: u32, value: f32) {
  arena[at] = bitcast<u32>(value);
}

// Four values from k on of the word that holds them. Weights beyond f16 would be infinities, and their products with 0 no
// numbers.
fn four_halves(word: u32, w_row: u32, k: u32) -> vec4<f16> {
  let block = block_of(w_row * params.scale_words, k / VALUES);
  let four = four_weights(vec4<u32>(word), block, k % VALUES / 4u);
  return vec4<f16>(clamp(four, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
}

// The two values of a word of f16 or bf16.
fn two_halves(word: u32) -> vec2<f16> {
  if (DTYPE == F16) {
    return bitcast<vec2<f16>>(word);
  }
  let two = bitcast<vec2<f32>>(vec2<u32>(word << 16u, word & 0xffff0000u));
  return vec2<f16>(clamp(two, vec2<f32>(-65504.0), vec2<f32>(65504.0)));
}

// The sums of 16 rows of W from `first` on, over all subgroups, to y.
fn write_tile(first: u32, thread: u32) {
  for (var cell = thread; cell < 256u; cell += SUBGROUPS * SUBGROUP) {
    let row = cell / 16u;
    let col = cell % 16u;
    if (row >= params.rows || first + col >= params.part_rows) {
      continue;
    }
    var value = 0.0;
    for (var part = 0u; part < SUBGROUPS; part += 1u) {
      value += sum_memory[(part * 16u + row) * SUM_ROW + col];
    }
    let out = params.first_row + first + col;
    value *= arena_at(params.scales_of_x + row);
    if (params.has_bias == 1u) {
      value += bias[out];
    }
    value = params.gain * activate(ACT, params.scale * value);
    if (params.has_residual == 1u) {
      value += params.residual_scale * arena_at(params.residual_offset + row * params.residual_stride + out);
    }
    finish(row, out, value);
  }
}
