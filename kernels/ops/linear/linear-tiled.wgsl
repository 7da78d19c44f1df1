// linear_tiled: y = x Wᵀ + bias + residual, for many rows of x (prefill; see linear.wgsl for few).
// Source:   blocked matrix product; W is unpacked once for 64 rows of x.
// Grid:     one workgroup of 128 threads a tile of 64 rows of x times 64 rows of W (tile.wgsl). A matrix that is
//           split over buffers is one dispatch a part.
// Numerics: f32 throughout, k in order.
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

var<private> first_x: u32;
var<private> first_w: u32;

fn tile_a(row: u32, k: u32) -> vec4<f32> {
  let x_row = first_x + row;
  if (x_row >= params.rows) {
    return vec4<f32>();
  }
  let at = params.x_offset + x_row * params.x_stride + k;
  if (k + 4u <= params.k) {
    return vec4<f32>(arena[at], arena[at + 1u], arena[at + 2u], arena[at + 3u]);
  }
  // What lies beyond K may be anything, NaN too.
  return vec4<f32>(
    select(0.0, arena[at], k < params.k),
    select(0.0, arena[at + 1u], k + 1u < params.k),
    select(0.0, arena[at + 2u], k + 2u < params.k),
    0.0,
  );
}

fn tile_b(col: u32, k: u32) -> vec4<f32> {
  let w_row = first_w + col;
  if (w_row >= params.part_rows || k >= params.k) {
    return vec4<f32>();
  }
  let vector = k / VALUES;
  let block = block_of(w_row * params.scale_words, vector);
  return four_weights(values[w_row * params.row_vectors + vector], block, (k % VALUES) / 4u);
}

// A thread's four sums of row i of its tile rows.
fn write_sums(sums: vec4<f32>, thread: u32, i: u32) {
  let x_row = first_x + tile_row(thread, i);
  if (x_row >= params.rows) {
    return;
  }
  for (var j = 0u; j < 4u; j += 1u) {
    let w_row = first_w + tile_col(thread, j);
    if (w_row < params.part_rows) {
      let out = params.first_row + w_row;
      var sum = sums[j];
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

@compute @workgroup_size(128)
fn linear_tiled(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid);
  let tiles_x = (params.rows + TILE - 1u) / TILE;
  first_x = (index % tiles_x) * TILE;
  first_w = (index / tiles_x) * TILE;
  var acc = tile_product(params.k, thread);

  for (var i = 0u; i < 8u; i += 1u) {
    write_sums(acc[i], thread, i);
  }
}
