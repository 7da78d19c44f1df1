// Packed weights → f32, 16 bytes (a vec4<u32>) at a time. In GPU buffers a row is padded to 16 bytes; q8_0 keeps its
// int8 values apart from its f16 scales (two a word), because ggml's 34-byte blocks are not aligned to words.
const F32 = 0u;
const F16 = 1u;
const BF16 = 2u;
const Q8_0 = 3u;
override DTYPE: u32 = 0u;
// Values in 16 bytes.
override VALUES: u32 = select(select(8u, 16u, DTYPE == Q8_0), 4u, DTYPE == F32);

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
