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
  let a_step = select(vec2<u32>(32u, 0u), vec2<u32>(0u, 2u), A_ROWS_FAST == 1u);
  let b_step = select(vec2<u32>(32u, 0u), vec2<u32>(0u, 2u), B_COLS_FAST == 1u);
  // What is multiplied next is on its way while this is.
  var a_first = tile_a(a_row, 4u * a_k4);
  var a_second = tile_a(a_row + a_step.x, 4u * (a_k4 + a_step.y));
  var b_first = tile_b(b_col, 4u * b_k4);
  var b_second = tile_b(b_col + b_step.x, 4u * (b_k4 + b_step.y));
  for (var k = 0u; k < k_end; k += TILE_K) {
    a_memory[a_row * TILE_STRIDE + a_k4] = a_first;
    a_memory[(a_row + a_step.x) * TILE_STRIDE + a_k4 + a_step.y] = a_second;
    b_memory[b_col * TILE_STRIDE + b_k4] = b_first;
    b_memory[(b_col + b_step.x) * TILE_STRIDE + b_k4 + b_step.y] = b_second;
    workgroupBarrier();
    if (k + TILE_K < k_end) {
      let next = k + TILE_K;
      a_first = tile_a(a_row, next + 4u * a_k4);
      a_second = tile_a(a_row + a_step.x, next + 4u * (a_k4 + a_step.y));
      b_first = tile_b(b_col, next + 4u * b_k4);
      b_second = tile_b(b_col + b_step.x, next + 4u * (b_k4 + b_step.y));
    }
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
