// The arena value by value, with the functions of arena-vectors.wgsl.
@group(0) @binding(1) var<storage, read_write> arena: array<u32>;

fn arena_one(at: u32) -> f32 {
  return bitcast<f32>(arena[at]);
}

fn arena_four(at: u32) -> vec4<u32> {
  return vec4<u32>(arena[at], arena[at + 1u], arena[at + 2u], arena[at + 3u]);
}

fn arena_vector(vector: u32) -> vec4<u32> {
  return arena_four(4u * vector);
}

// The first `count` of four values.
fn keep_four(at: u32, four: vec4<f32>, count: u32) {
  for (var i = 0u; i < count; i += 1u) {
    arena[at + i] = bitcast<u32>(four[i]);
  }
}

fn arena_put_one(at: u32, value: f32) {
  arena[at] = bitcast<u32>(value);
}

fn arena_put_vector(vector: u32, words: vec4<u32>) {
  for (var i = 0u; i < 4u; i += 1u) {
    arena[4u * vector + i] = words[i];
  }
}
