// Σ_k a(row, k) b(col, k) over a 64 × 64 tile, for any a and b: the shader that includes this gives
//   fn tile_a(row: u32, k: u32) -> vec4<f32>   values k … k + 3 of a row of the tile, 0 outside
//   fn tile_b(col: u32, k: u32) -> vec4<f32>   the same of a column
// with row and col in 0 … 63. Workgroup of 128 threads; each owns 8 rows (tile_row) times 4 columns (tile_col).
// k goes 16 at a time through workgroup memory; f32, in a fixed order.
const TILE = 64u;
const TILE_K = 16u;
// Vectors from one tile row to the next: 4 and one of padding, so that 8 neighbouring lanes hit different banks.
const TILE_STRIDE = 5u;

// 1 where values of one k lie side by side (rows are the fast axis in memory), 0 where a row's k values do.
override A_ROWS_FAST: u32 = 0u;
override B_COLS_FAST: u32 = 0u;

var<workgroup> a_memory: array<vec4<f32>, TILE * TILE_STRIDE>;
var<workgroup> b_memory: array<vec4<f32>, TILE * TILE_STRIDE>;

// A thread's sums: of each of its rows, times its four columns.
alias Tile = array<vec4<f32>, 8>;

fn tile_row(thread: u32, i: u32) -> u32 {
  return thread / 16u + 8u * i;
}

fn tile_col(thread: u32, j: u32) -> u32 {
  return thread % 16u + 16u * j;
}

// Σ_{k < k_end}. All threads of the workgroup must call, with the same k_end (barriers).
fn tile_product(k_end: u32, thread: u32) -> Tile {
  // Each thread brings in 4 values of k of two rows and of two columns, as neighbours in memory where possible.
  let a_row = select(thread / 4u, thread % 64u, A_ROWS_FAST == 1u);
  let a_k4 = select(thread % 4u, thread / 64u, A_ROWS_FAST == 1u);
  let b_col = select(thread / 4u, thread % 64u, B_COLS_FAST == 1u);
  let b_k4 = select(thread % 4u, thread / 64u, B_COLS_FAST == 1u);
  let a_at = tile_row(thread, 0u) * TILE_STRIDE;
  let b_at = tile_col(thread, 0u) * TILE_STRIDE;
  // Named, not an array: arrays in a loop are memory to some compilers.
  var acc0 = vec4<f32>();
  var acc1 = vec4<f32>();
  var acc2 = vec4<f32>();
  var acc3 = vec4<f32>();
  var acc4 = vec4<f32>();
  var acc5 = vec4<f32>();
  var acc6 = vec4<f32>();
  var acc7 = vec4<f32>();
  for (var k = 0u; k < k_end; k += TILE_K) {
    for (var second = 0u; second < 2u; second += 1u) {
      let row = a_row + select(32u, 0u, A_ROWS_FAST == 1u) * second;
      let row_k4 = a_k4 + select(0u, 2u, A_ROWS_FAST == 1u) * second;
      a_memory[row * TILE_STRIDE + row_k4] = tile_a(row, k + 4u * row_k4);
      let col = b_col + select(32u, 0u, B_COLS_FAST == 1u) * second;
      let col_k4 = b_k4 + select(0u, 2u, B_COLS_FAST == 1u) * second;
      b_memory[col * TILE_STRIDE + col_k4] = tile_b(col, k + 4u * col_k4);
    }
    workgroupBarrier();
    for (var k4 = 0u; k4 < TILE_K / 4u; k4 += 1u) {
      let b = mat4x4<f32>(
        b_memory[b_at + k4],
        b_memory[b_at + 16u * TILE_STRIDE + k4],
        b_memory[b_at + 32u * TILE_STRIDE + k4],
        b_memory[b_at + 48u * TILE_STRIDE + k4],
      );
      acc0 += a_memory[a_at + k4] * b;
      acc1 += a_memory[a_at + 8u * TILE_STRIDE + k4] * b;
      acc2 += a_memory[a_at + 16u * TILE_STRIDE + k4] * b;
      acc3 += a_memory[a_at + 24u * TILE_STRIDE + k4] * b;
      acc4 += a_memory[a_at + 32u * TILE_STRIDE + k4] * b;
      acc5 += a_memory[a_at + 40u * TILE_STRIDE + k4] * b;
      acc6 += a_memory[a_at + 48u * TILE_STRIDE + k4] * b;
      acc7 += a_memory[a_at + 56u * TILE_STRIDE + k4] * b;
    }
    workgroupBarrier();
  }
  return Tile(acc0, acc1, acc2, acc3, acc4, acc5, acc6, acc7);
}
