// rope: (y_i, y_j) = (x_i cos a − x_j sin a, x_j cos a + x_i sin a), a = position · frequency, for each pair (i, j) of a head.
// Source:   Su et al. 2021 (arXiv:2104.09864) eq. 34.
// Grid:     a thread a value of y, 64 columns a workgroup.
// Numerics: f32. WGSL's own sin and cos promise nothing beyond ±π, so the angle is brought there by Cody and Waite's
//           method; good to 1e-6 up to a million radians.
override COLS: u32;
override HEAD_DIM: u32;
override FIRST: u32;       // of the rotated columns of a head
override HALF: u32;        // pairs of a head
override NEIGHBOURS: u32;  // 1: the pairs are (2 i, 2 i + 1); 0: (i, i + HALF)

struct Params {
  rows: u32,
  length: u32,
  x_offset: u32,
  x_stride: u32,
  y_offset: u32,
  y_stride: u32,
  scale: f32,
  largest: f32,  // the largest f32
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;       // x, y: (B * T, nHead * headDim)
@group(0) @binding(2) var<storage, read> frequencies: array<f32>;       // (HALF)
@group(0) @binding(3) var<storage, read> positions: array<i32>;         // room, then (B)

// π/2 = PI_2_HIGH + PI_2_MIDDLE + PI_2_LOW, the first two of 12 bits: their products with numbers of 12 bits are exact.
const PI_2_HIGH = 3217.0 / 2048.0;
const PI_2_MIDDLE = -2391.0 / 536870912.0;
const PI_2_LOW = -8.705515695504166e-10;

// (cos, sin) of an angle from 0 to 1e6.
fn turn(angle: f32) -> vec2<f32> {
  let n = round(angle * 0.63661977236758134);
  let high = floor(n / 1024.0) * 1024.0;
  let low = n - high;
  var r = angle - high * PI_2_HIGH;
  r -= low * PI_2_HIGH;
  r -= high * PI_2_MIDDLE;
  r -= low * PI_2_MIDDLE;
  r -= n * PI_2_LOW;
  // Cephes' polynomials for |r| ≤ π/4.
  let z = r * r;
  let s = r + r * z * ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1);
  let c = 1.0 - 0.5 * z + z * z * ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2);
  switch (u32(n) % 4u) {
    case 0u: {
      return vec2(c, s);
    }
    case 1u: {
      return vec2(-s, c);
    }
    case 2u: {
      return vec2(-c, -s);
    }
    default: {
      return vec2(s, -c);
    }
  }
}

@compute @workgroup_size(64)
fn rope(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let pieces = (COLS + 63u) / 64u;
  let index = workgroup_index(workgroup, grid);
  let row = index / pieces;
  let column = (index % pieces) * 64u + thread;
  if (row >= params.rows || column >= COLS) {
    return;
  }
  let x = params.x_offset + row * params.x_stride;
  var y = arena[x + column];
  let i = column % HEAD_DIM - FIRST;  // far beyond all pairs where it would be negative
  if (i < 2u * HALF) {
    let pair = select(i % HALF, i / 2u, NEIGHBOURS == 1u);
    let is_second = select(i >= HALF, i % 2u == 1u, NEIGHBOURS == 1u);
    let distance = select(HALF, 1u, NEIGHBOURS == 1u);
    let other = select(column + distance, column - distance, is_second);
    let position = u32(positions[1u + row / params.length]) + row % params.length;
    // The minimum changes nothing; it keeps compilers from fusing the product, unrounded, into what is taken off it.
    let angle = min(f32(position) * frequencies[pair], params.largest);
    let turned = turn(angle) * params.scale;
    y = y * turned.x + arena[x + other] * select(-turned.y, turned.y, is_second);
  }
  arena[params.y_offset + row * params.y_stride + column] = y;
}
