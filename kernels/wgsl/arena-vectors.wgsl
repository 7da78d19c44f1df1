// The arena in 16-byte vectors, for kernels whose operands all lie on multiples of four values.
@group(0) @binding(1) var<storage, read_write> arena: array<vec4<u32>>;

fn arena_one(at: u32) -> f32 {
  return bitcast<f32>(arena[at / 4u][at % 4u]);
}

fn arena_four(at: u32) -> vec4<u32> {
  return arena[at / 4u];
}

// By its place among the vectors.
fn arena_vector(vector: u32) -> vec4<u32> {
  return arena[vector];
}

// `count` is 4: rows that lie on multiples of four have a multiple of four values.
fn keep_four(at: u32, four: vec4<f32>, count: u32) {
  arena[at / 4u] = bitcast<vec4<u32>>(four);
}

fn arena_put_one(at: u32, value: f32) {
  arena[at / 4u][at % 4u] = bitcast<u32>(value);
}

fn arena_put_vector(vector: u32, words: vec4<u32>) {
  arena[vector] = words;
}
