// attention: where keys and values lie, and how they are read: those of tokens before the run in slots, its own in the arena.
// Source:   see attention.wgsl, whose bindings and overrides these functions use.

// Words of one head of a token.
fn head_words(dim: u32) -> u32 {
  return select(dim, (dim + 1u) / 2u, HALVES == 1u);
}

// The first word of a head; `offset` and `stride` only count in a ring.
fn slot_at(offset: u32, stride: u32, b: u32, token: u32, kv_head: u32, dim: u32) -> u32 {
  let row_words = KV_HEADS * head_words(dim);
  if (GROWS == 1u) {
    return (b * u32(positions[0]) + token) * row_words + kv_head * head_words(dim);
  }
  return offset + b * stride + (token % WINDOW) * row_words + kv_head * head_words(dim);
}

fn word_of(i: u32) -> u32 {
  return select(i, i / 2u, HALVES == 1u);
}

fn value_in(word: u32, i: u32) -> f32 {
  if (HALVES == 1u) {
    let pair = unpack2x16float(word);
    return select(pair.x, pair.y, i % 2u == 1u);
  }
  return bitcast<f32>(word);
}

// Rounded to nearest, ties to even, on every device alike, which pack2x16float does not promise. Adds just less than half of
// the last place, and the last bit for ties; subnormals are aligned by adding 0.5, whose last place is theirs.
fn half_of(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  let size = bits & 0x7fffffffu;
  var half = (size + 0xc8000fffu + ((size >> 13u) & 1u)) >> 13u;
  if (size < 0x38800000u) {
    half = bitcast<u32>(abs(value) + 0.5) - 0x3f000000u;
  } else if (size >= 0x477ff000u) {
    half = select(0x7c00u, 0x7e00u, size > 0x7f800000u);
  }
  return half | ((bits >> 16u) & 0x8000u);
}

// Memory answers late: what is asked for together is waited for once. Hence keys by eight of their values, and values by
// four tokens.

fn one_of_key(own: bool, at: u32, i: u32) -> f32 {
  if (own) {
    return arena[at + i];
  }
  return value_in(keys[at + word_of(i)], i);
}

// From i on, which is even.
fn four_of_key(own: bool, at: u32, i: u32) -> vec4<f32> {
  if (own) {
    return vec4(arena[at + i], arena[at + i + 1u], arena[at + i + 2u], arena[at + i + 3u]);
  }
  let word = at + word_of(i);
  if (HALVES == 1u) {
    return vec4(unpack2x16float(keys[word]), unpack2x16float(keys[word + 1u]));
  }
  return bitcast<vec4<f32>>(vec4(keys[word], keys[word + 1u], keys[word + 2u], keys[word + 3u]));
}

fn one_value(b: u32, kv_head: u32, before: u32, s: u32, i: u32) -> f32 {
  if (s >= before) {
    return arena[params.v_offset + (b * params.length + s - before) * params.v_stride + kv_head * DIM_V + i];
  }
  return value_in(values[slot_at(params.values_offset, params.values_stride, b, s, kv_head, DIM_V) + word_of(i)], i);
}

// Column i of the values of four tokens from s on; the last stands in for those behind it.
fn values_of(b: u32, kv_head: u32, before: u32, s: u32, last: u32, i: u32) -> vec4<f32> {
  if (s + 4u <= before && s + 3u <= last) {
    let at = vec4(
      slot_at(params.values_offset, params.values_stride, b, s, kv_head, DIM_V),
      slot_at(params.values_offset, params.values_stride, b, s + 1u, kv_head, DIM_V),
      slot_at(params.values_offset, params.values_stride, b, s + 2u, kv_head, DIM_V),
      slot_at(params.values_offset, params.values_stride, b, s + 3u, kv_head, DIM_V),
    ) + word_of(i);
    let words = vec4(values[at.x], values[at.y], values[at.z], values[at.w]);
    return vec4(value_in(words.x, i), value_in(words.y, i), value_in(words.z, i), value_in(words.w, i));
  }
  return vec4(
    one_value(b, kv_head, before, s, i),
    one_value(b, kv_head, before, min(s + 1u, last), i),
    one_value(b, kv_head, before, min(s + 2u, last), i),
    one_value(b, kv_head, before, min(s + 3u, last), i),
  );
}
