// What linear.wgsl and linear-row.wgsl share.
struct Params {
  rows: u32,  // of x
  x_offset: u32,
  x_stride: u32,
  z_offset: u32,
  z_stride: u32,
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
  scale: f32,
  gain: f32,
  residual_scale: f32,
  divisor: f32,  // of the sum of squares
  eps: f32,
  conv_first: u32,     // first row of W that is a channel of the convolution
  conv_channels: u32,  // 0 for none
  conv_offset: u32,
  conv_stride: u32,
  conv_state_offset: u32,
  conv_state_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// x, z, y, residual of the arena (binding 1), and norm_weight (binding 5): see operands-*.wgsl
@group(0) @binding(2) var<storage, read> values: array<vec4<u32>>;   // (part_rows, K) packed
@group(0) @binding(3) var<storage, read> scales: array<u32>;         // (part_rows, scale_words), see unpack.wgsl
@group(0) @binding(4) var<storage, read> bias: array<f32>;           // (R)
