// few_halves: what stands before a product, a norm or gate or nothing, as f16 for few-matrix.wgsl and linear-matrix.wgsl. With
// g = act(z) · x or x, and f and s as in prologue.wgsl, a row becomes p · f in f16, p a power of two so that no value is too
// large and the largest ones keep all their bits; its sums are to be multiplied by s / p. With PARTS 2 what rounding takes
// away is a second f16 (22 bits together).
// Grid:     a workgroup of THREADS threads a row.
// Numerics: f32, then the rounding; a row with an infinity or a NaN stays one.
const NONE = 0u;
const OF_X = 1u;
const OF_GATED = 2u;
override NORM: u32;
override GATED: u32;
override GATE_ACT: u32;
override HAS_NORM_WEIGHT: u32;

struct Params {
  k: u32,  // columns of x
  rows: u32,
  x_offset: u32,
  x_stride: u32,
  z_offset: u32,
  z_stride: u32,
  halves: u32,       // scratch: (PARTS, rows, row_words) words of two f16; zeros from K on
  scales_of_x: u32,  // scratch: what a row's sums are to be multiplied by, (rows)
  row_words: u32,
  divisor: f32,  // of the sum of squares
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<u32>;      // of f32, but for the halves
@group(0) @binding(2) var<storage, read> norm_weight: array<f32>;      // (K)

const GROUPS = THREADS / SUBGROUP;
var<workgroup> most_of: array<u32, GROUPS>;
var<workgroup> squares_of: array<f32, GROUPS>;

var<private> squares_of_thread: f32 = 0.0;

// f of a column, and 0 beyond the last. Without a branch around the loads, so that those of several columns are under way
// together.
fn factor_at(row: u32, column: u32) -> f32 {
  let k = min(column, params.k - 1u);
  let x = bitcast<f32>(arena[params.x_offset + row * params.x_stride + k]);
  var g = x;
  if (GATED == 1u) {
    g *= activate(GATE_ACT, bitcast<f32>(arena[params.z_offset + row * params.z_stride + k]));
  }
  let square = select(x * x, g * g, NORM == OF_GATED);
  squares_of_thread += select(0.0, square, column < params.k);
  if (HAS_NORM_WEIGHT == 1u) {
    g *= norm_weight[k];
  }
  return select(0.0, g, column < params.k);
}

// f of the four columns of two words, THREADS words apart.
fn factors_at(row: u32, word: u32) -> vec4<f32> {
  let other = word + THREADS;
  return vec4<f32>(
    factor_at(row, 2u * word),
    factor_at(row, 2u * word + 1u),
    factor_at(row, 2u * other),
    factor_at(row, 2u * other + 1u),
  );
}

fn keep(row: u32, word: u32, values: vec2<f32>) {
  if (word >= params.row_words) {
    return;
  }
  // Cut off by its bits: a compiler may take unpacking what was packed for nothing at all.
  let high = select(values, bitcast<vec2<f32>>(bitcast<vec2<u32>>(values) & vec2<u32>(0xffffe000u)), PARTS == 2u);
  arena[params.halves + row * params.row_words + word] = pack2x16float(high);
  if (PARTS == 2u) {
    arena[params.halves + (params.rows + row) * params.row_words + word] = pack2x16float(values - high);
  }
}

// The power of two that brings `largest` to 2^14 … 2^15; 1 for what has none.
fn scale_for(largest: f32) -> f32 {
  let exponent = (bitcast<u32>(largest) >> 23u) & 255u;
  if (exponent == 255u || exponent == 0u) {
    return 1.0;
  }
  return bitcast<f32>(clamp(268u - exponent, 1u, 254u) << 23u);
}

@compute @workgroup_size(THREADS)
fn few_halves(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = workgroup_index(workgroup, grid);
  if (row >= params.rows) {
    return;
  }
  // As bits: of numbers without a sign the larger has the larger bits, and infinities and NaNs come last.
  var most = 0u;
  for (var word = thread; word < params.row_words; word += 2u * THREADS) {
    let bits = bitcast<vec4<u32>>(factors_at(row, word)) & vec4<u32>(0x7fffffffu);
    most = max(most, max(max(bits.x, bits.y), max(bits.z, bits.w)));
  }
  most = subgroupMax(most);
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
  let scale = scale_for(bitcast<f32>(most));
  if (thread == 0u) {
    var factor = 1.0 / scale;
    if (NORM != NONE) {
      factor /= sqrt(squares / params.divisor + params.eps);
    }
    arena[params.scales_of_x + row] = bitcast<u32>(factor);
  }
  for (var word = thread; word < params.row_words; word += 2u * THREADS) {
    let values = scale * factors_at(row, word);
    keep(row, word, values.xy);
    keep(row, word + THREADS, values.zw);
  }
}
