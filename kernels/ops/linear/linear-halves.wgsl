// linear_halves: rows of x as f16 for linear-matrix.wgsl: a power of two times x, so that no value is too large for f16
// and the largest ones keep all its bits. With PARTS 2 what rounding takes away is a second f16 (22 bits together).
// Grid:     a workgroup of 256 threads a row.
// Numerics: exact but for the rounding; a row with an infinity or a NaN stays one.
struct Params {
  k: u32,  // columns of x
  x_offset: u32,
  x_stride: u32,
  halves: u32,       // scratch: (PARTS, rows, row_words) words of two f16; zeros from K on
  scales: u32,       // scratch: what a row's sums are to be multiplied by, (rows)
  row_words: u32,
  rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<u32>;  // of f32, but for the halves

var<workgroup> partial: array<u32, 256u / SUBGROUP>;

fn x_at(row: u32, k: u32) -> f32 {
  return select(0.0, bitcast<f32>(arena[params.x_offset + row * params.x_stride + k]), k < params.k);
}

// The power of two that brings `largest` to 2^14 … 2^15; 1 for what has none.
fn scale_for(largest: f32) -> f32 {
  let exponent = (bitcast<u32>(largest) >> 23u) & 255u;
  if (exponent == 255u || exponent == 0u) {
    return 1.0;
  }
  return bitcast<f32>(clamp(268u - exponent, 1u, 254u) << 23u);
}

@compute @workgroup_size(256)
fn linear_halves(
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
  for (var k = thread; k < params.k; k += 256u) {
    most = max(most, bitcast<u32>(x_at(row, k)) & 0x7fffffffu);
  }
  most = subgroupMax(most);
  if (thread % SUBGROUP == 0u) {
    partial[thread / SUBGROUP] = most;
  }
  workgroupBarrier();
  for (var i = 0u; i < 256u / SUBGROUP; i += 1u) {
    most = max(most, partial[i]);
  }
  let scale = scale_for(bitcast<f32>(most));
  if (thread == 0u) {
    arena[params.scales + row] = bitcast<u32>(1.0 / scale);
  }
  for (var word = thread; word < params.row_words; word += 256u) {
    let values = scale * vec2<f32>(x_at(row, 2u * word), x_at(row, 2u * word + 1u));
    // Cut off by its bits: a compiler may take unpacking what was packed for nothing at all.
    let high = select(values, bitcast<vec2<f32>>(bitcast<vec2<u32>>(values) & vec2<u32>(0xffffe000u)), PARTS == 2u);
    arena[params.halves + row * params.row_words + word] = pack2x16float(high);
    if (PARTS == 2u) {
      arena[params.halves + (params.rows + row) * params.row_words + word] = pack2x16float(values - high);
    }
  }
}
