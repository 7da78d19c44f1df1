// Packed weights → f32, 16 bytes (a vec4<u32>) at a time. In GPU buffers a row of values is padded to 16 bytes. What blocks
// share lies apart from their values, in an array<u32> `scales` that the shader which includes this declares:
//   q8_0  16 int8 in 16 bytes; an f16 for 32 values, two a word
//   q4_0  32 nibbles in 16 bytes (all types below do): byte b of word i holds value 8 i + b low, 8 i + 4 + b high; an f16
//         for 32 values, two a word
//   q4_k  for 256 values 5 words: d and dmin as f16; 8 bytes of sc, 8 of m
//   q5_k  13 words: the same, then a word of fifth bits for each 32 values: bit i of byte b is value 4 i + b's
//   q6_k  21 words: d as f16; 16 int8 of sc; two words of upper bits for each 32 values, bits 2 i of byte b are value
//         4 i + b's of 16
const F32 = 0u;
const F16 = 1u;
const BF16 = 2u;
const Q8_0 = 3u;
const Q4_0 = 4u;
const Q4_K = 5u;
const Q5_K = 6u;
const Q6_K = 7u;
override DTYPE: u32 = 0u;
// Values in 16 bytes.
override VALUES: u32 = select(select(select(8u, 16u, DTYPE == Q8_0), 4u, DTYPE == F32), 32u, DTYPE >= Q4_0);
// Whether values are scale · stored − min.
override HAS_MIN: bool = DTYPE == Q4_K || DTYPE == Q5_K;

// What the values of 16 bytes share.
struct Block {
  scale: vec2<f32>,  // of the first and of the second half: they differ in q6_k
  min: f32,
  upper: vec2<u32>,  // the bits beyond four
}

// Of vector `v` of a row whose scales start at word `first`.
fn block_of(first: u32, v: u32) -> Block {
  if (DTYPE == Q8_0 || DTYPE == Q4_0) {
    let block = v / select(1u, 2u, DTYPE == Q8_0);
    return Block(vec2<f32>(scale_of(scales[first + block / 2u], block)), 0.0, vec2<u32>());
  }
  if (DTYPE == Q6_K) {
    let at = first + v / 8u * 21u;
    let d = f16_exact(scales[at] & 0xffffu);
    let group = v % 8u;
    let pair = unpack4xI8(scales[at + 1u + group / 2u] >> (16u * (group % 2u)));
    return Block(d * vec2<f32>(pair.xy), 0.0, vec2<u32>(scales[at + 5u + 2u * group], scales[at + 6u + 2u * group]));
  }
  if (HAS_MIN) {
    let at = first + v / 8u * select(5u, 13u, DTYPE == Q5_K);
    let group = v % 8u;
    let shift = 8u * (group % 4u);
    let sc = f32((scales[at + 1u + group / 4u] >> shift) & 255u);
    let m = f32((scales[at + 3u + group / 4u] >> shift) & 255u);
    var upper = 0u;
    if (DTYPE == Q5_K) {
      upper = scales[at + 5u + group];
    }
    let d = scales[at];
    return Block(vec2<f32>(f16_exact(d & 0xffffu) * sc), f16_exact(d >> 16u) * m, vec2<u32>(upper));
  }
  return Block(vec2<f32>(1.0), 0.0, vec2<u32>());
}

// Stored values 4 quarter … 4 quarter + 3 of 16 bytes: without scale and minimum.
fn four_stored(packed: vec4<u32>, block: Block, quarter: u32) -> vec4<f32> {
  if (DTYPE < Q4_0) {
    return four_values(packed, quarter);
  }
  var bits = (packed[quarter / 2u] >> (4u * (quarter % 2u))) & 0x0f0f0f0fu;
  if (DTYPE == Q5_K) {
    bits |= ((block.upper.x >> quarter) & 0x01010101u) << 4u;
  }
  if (DTYPE == Q6_K) {
    bits |= ((select(block.upper.y, block.upper.x, quarter < 4u) >> (2u * (quarter % 4u))) & 0x03030303u) << 4u;
  }
  return vec4<f32>(unpack4xU8(bits)) - select(select(0.0, 32.0, DTYPE == Q6_K), 8.0, DTYPE == Q4_0);
}

// The scale of those four.
fn scale_in(block: Block, quarter: u32) -> f32 {
  return select(block.scale.y, block.scale.x, quarter < 4u);
}

// Values 4 quarter … 4 quarter + 3 of 16 bytes.
fn four_weights(packed: vec4<u32>, block: Block, quarter: u32) -> vec4<f32> {
  let stored = four_stored(packed, block, quarter);
  if (DTYPE < Q8_0) {
    return stored;
  }
  let scaled = scale_in(block, quarter) * stored;
  return select(scaled, scaled - block.min, HAS_MIN);
}

// Values 4 quarter … 4 quarter + 3 of 16 bytes, for q8_0 without the scale.
fn four_values(packed: vec4<u32>, quarter: u32) -> vec4<f32> {
  if (DTYPE == F32) {
    return bitcast<vec4<f32>>(packed);
  }
  if (DTYPE == Q8_0) {
    return vec4<f32>(unpack4xI8(packed[quarter]));
  }
  let words = select(packed.zw, packed.xy, quarter == 0u);
  if (DTYPE == F16) {
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
  }
  return bitcast<vec4<f32>>(vec4<u32>(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
}

// An f16 exactly, subnormals too: scales of blocks with small weights are subnormal, and unpack2x16float may flush them.
fn f16_exact(half: u32) -> f32 {
  let exponent = (half >> 10u) & 31u;
  let mantissa = half & 1023u;
  let normal = bitcast<f32>(((exponent + 112u) << 23u) | (mantissa << 13u));
  let magnitude = select(normal, f32(mantissa) * 5.9604644775390625e-8, exponent == 0u);
  return select(magnitude, -magnitude, (half & 0x8000u) != 0u);
}

// The scale of block `block` of a row, out of the word that holds it and its neighbour.
fn scale_of(word: u32, block: u32) -> f32 {
  return f16_exact((word >> (16u * (block & 1u))) & 0xffffu);
}
