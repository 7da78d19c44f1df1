fn finish(x_row: u32, out: u32, value: f32) {
  arena_put(params.y_offset + x_row * params.y_stride + out, value);
}
