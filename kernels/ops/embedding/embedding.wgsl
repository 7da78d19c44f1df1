// embedding: y[t] = table[ids[t]], as f32.
// Source:   a table look-up; the table stays packed.
// Grid:     one workgroup for 64 columns of one row t of y; parts of a table that is split by rows are separate
//           dispatches, each writing the rows whose id it holds.
// Numerics: unpacking is exact but for blocks, where each product and difference is rounded.
override COLS: u32;         // dModel
override ROW_VECTORS: u32;  // 16-byte vectors a packed row
override SCALE_WORDS: u32;  // words of what a row's blocks share

struct Params {
  rows: u32,  // B * T
  ids: u32,
  y_offset: u32,
  y_stride: u32,
  first_row: u32,  // of the table, in this part
  part_rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<u32>;    // ids: (B * T) i32; y: (B * T, dModel) f32
@group(0) @binding(2) var<storage, read> table: array<vec4<u32>>;    // (part_rows, dModel) packed
@group(0) @binding(3) var<storage, read> scales: array<u32>;         // (part_rows, SCALE_WORDS), see unpack.wgsl

@compute @workgroup_size(64)
fn embedding(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let pieces = (COLS + 63u) / 64u;
  let index = workgroup_index(workgroup, grid);
  let row = index / pieces;
  let col = (index % pieces) * 64u + thread;
  if (row >= params.rows || col >= COLS) {
    return;
  }
  // An id below the part wraps around to a large number and is left to its own part, too.
  let entry = arena[params.ids + row] - params.first_row;
  if (entry >= params.part_rows) {
    return;
  }
  let vector = col / VALUES;
  let block = block_of(entry * SCALE_WORDS, vector);
  let value = four_weights(table[entry * ROW_VECTORS + vector], block, (col % VALUES) / 4u)[col % 4u];
  arena[params.y_offset + row * params.y_stride + col] = bitcast<u32>(value);
}
