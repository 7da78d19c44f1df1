// The arena value by value, and what ssd's kernels on lanes do with it.
// x, z, y: (B * T, nHead * headDim); dtRaw: (B * T, nHead); B, C: (B * T, nGroup * dState); scratch
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;

fn arena_one(at: u32) -> f32 {
  return arena[at];
}

fn x_at(row: u32, channel: u32) -> f32 {
  return arena[params.x_offset + row * params.x_stride + channel];
}

// y = sum + D x, gated by z.
fn write_y(row: u32, head: u32, channel: u32, sum: f32) {
  var y = sum;
  if (params.has_d == 1u) {
    y += D[head] * x_at(row, channel);
  }
  if (params.has_z == 1u) {
    y *= silu(arena[params.z_offset + row * params.z_stride + channel]);
  }
  arena[params.y_offset + row * params.y_stride + channel] = y;
}
