// expert_tiled: p_j = x_j W[e_j]ᵀ + bias[e_j] for many tokens an expert (see expert-linear.wgsl for few).
// Source:   blocked matrix product over the places of one expert (expert-lists.wgsl); W is unpacked once for 64 of them.
// Grid:     one workgroup of 128 threads a tile of 64 places times 64 outputs (tile.wgsl). A matrix that is split over buffers
//           is one dispatch a part, which writes the products with its rows.
// Numerics: f32 throughout, k in order.
struct Params {
  top_k: u32,
  n_expert: u32,
  outputs: u32,  // R: rows of W for each expert
  max_tiles: u32,
  x_offset: u32,
  x_stride: u32,
  x_step: u32,  // columns of x from one expert's part to the next's, 0: all have the same
  y_offset: u32,
  y_stride: u32,
  list_offset: u32,
  tiles_offset: u32,
  first_row: u32,  // of W, in this part
  part_rows: u32,
  k: u32,            // columns of W
  row_vectors: u32,  // 16-byte vectors a packed row
  scale_words: u32,  // words of what a row's blocks share
  has_bias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;    // x: (rows, K or topK * K); y: (rows, topK * R)
@group(0) @binding(2) var<storage, read> values: array<vec4<u32>>;   // (part_rows, K) packed
@group(0) @binding(3) var<storage, read> scales: array<u32>;         // (part_rows, scale_words), see unpack.wgsl
@group(0) @binding(4) var<storage, read> bias: array<f32>;           // (nExpert * R)

var<private> expert: u32;
var<private> first_place: u32;  // in the list
var<private> places: u32;
var<private> first_output: u32;

fn place_at(row: u32) -> u32 {
  return u32(arena[params.list_offset + first_place + row]);
}

// Whether row `output` of the expert is in this part; what is no expert is in the first.
fn is_here(output: u32) -> bool {
  if (output >= params.outputs) {
    return false;
  }
  if (expert == params.n_expert) {
    return params.first_row == 0u;
  }
  let row = expert * params.outputs + output;
  return row >= params.first_row && row < params.first_row + params.part_rows;
}

fn tile_a(row: u32, k: u32) -> vec4<f32> {
  if (row >= places) {
    return vec4<f32>();
  }
  let place = place_at(row);
  let at = params.x_offset + place / params.top_k * params.x_stride + place % params.top_k * params.x_step + k;
  // What lies beyond K may be anything, NaN too.
  return vec4<f32>(
    select(0.0, arena[at], k < params.k),
    select(0.0, arena[at + 1u], k + 1u < params.k),
    select(0.0, arena[at + 2u], k + 2u < params.k),
    select(0.0, arena[at + 3u], k + 3u < params.k),
  );
}

fn tile_b(col: u32, k: u32) -> vec4<f32> {
  let output = first_output + col;
  if (expert == params.n_expert || k >= params.k || !is_here(output)) {
    return vec4<f32>();
  }
  let row = expert * params.outputs + output - params.first_row;
  let vector = k / VALUES;
  let block = block_of(row * params.scale_words, vector);
  return four_weights(values[row * params.row_vectors + vector], block, (k % VALUES) / 4u);
}

// A thread's four sums of row i of its tile rows.
fn write_sums(sums: vec4<f32>, thread: u32, i: u32) {
  let row = tile_row(thread, i);
  if (row >= places) {
    return;
  }
  let place = place_at(row);
  let y = params.y_offset + place / params.top_k * params.y_stride + place % params.top_k * params.outputs;
  for (var j = 0u; j < 4u; j += 1u) {
    let output = first_output + tile_col(thread, j);
    if (is_here(output)) {
      var sum = sums[j];
      if (params.has_bias == 1u && expert < params.n_expert) {
        sum += bias[expert * params.outputs + output];
      }
      arena[y + output] = sum;
    }
  }
}

@compute @workgroup_size(128)
fn expert_tiled(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid);
  // Workgroups beyond the end repeat the last tile.
  let tile = params.tiles_offset + 3u * min(index % params.max_tiles, params.max_tiles - 1u);
  places = u32(arena[tile + 2u]);
  expert = select(params.n_expert, u32(arena[tile]), places > 0u);
  first_place = select(0u, u32(arena[tile + 1u]), places > 0u);
  first_output = index / params.max_tiles * TILE;
  var acc = tile_product(params.k, thread);

  for (var i = 0u; i < 8u; i += 1u) {
    write_sums(acc[i], thread, i);
  }
}
