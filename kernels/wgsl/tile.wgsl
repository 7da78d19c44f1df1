// acc[i][j] += Σ_k a(row, k) b(col, k) over a 64 × 64 tile, for any a and b: the shader that includes this gives
//   fn tile_a(row: u32, k: u32) -> vec4<f32>   values k … k + 3 of a row of the tile, 0 outside
//   fn tile_b(col: u32, k: u32) -> vec4<f32>   the same of a column
// with row and col in 0 … 63. Workgroup of 256 threads; thread t owns rows ty + 16 i and columns tx + 16 j,
// tx = t % 16, ty = t / 16. k goes 16 at a time through workgroup memory; f32, in a fixed order.
const TILE = 64u;
const TILE_K = 16u;
// Vectors from one tile row to the next: 4 and one of padding, so that 8 neighbouring lanes hit different banks.
const TILE_STRIDE = 5u;

// 1 where values of one k lie side by side (rows are the fast axis in memory), 0 where a row's k values do.
override A_ROWS_FAST: u32 = 0u;
override B_COLS_FAST: u32 = 0u;

var<workgroup> a_memory: array<vec4<f32>, TILE * TILE_STRIDE>;
var<workgroup> b_memory: array<vec4<f32>, TILE * TILE_STRIDE>;

alias Tile = array<vec4<f32>, 4>;

fn tile_product(acc: ptr<function, Tile>, k_end: u32, thread: u32) {
  let tx = thread % 16u;
  let ty = thread / 16u;
  let a_row = select(thread / 4u, thread % 64u, A_ROWS_FAST == 1u);
  let a_k4 = select(thread % 4u, thread / 64u, A_ROWS_FAST == 1u);
  let b_col = select(thread / 4u, thread % 64u, B_COLS_FAST == 1u);
  let b_k4 = select(thread % 4u, thread / 64u, B_COLS_FAST == 1u);
  for (var k = 0u; k < k_end; k += TILE_K) {
    a_memory[a_row * TILE_STRIDE + a_k4] = tile_a(a_row, k + 4u * a_k4);
    b_memory[b_col * TILE_STRIDE + b_k4] = tile_b(b_col, k + 4u * b_k4);
    workgroupBarrier();
    for (var k4 = 0u; k4 < TILE_K / 4u; k4 += 1u) {
      let b0 = b_memory[tx * TILE_STRIDE + k4];
      let b1 = b_memory[(tx + 16u) * TILE_STRIDE + k4];
      let b2 = b_memory[(tx + 32u) * TILE_STRIDE + k4];
      let b3 = b_memory[(tx + 48u) * TILE_STRIDE + k4];
      for (var i = 0u; i < 4u; i += 1u) {
        let a = a_memory[(ty + 16u * i) * TILE_STRIDE + k4];
        (*acc)[i] += vec4<f32>(dot(a, b0), dot(a, b1), dot(a, b2), dot(a, b3));
      }
    }
    workgroupBarrier();
  }
}
