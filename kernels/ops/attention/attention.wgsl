// attention: y[t, h] = Σ_s softmax_s(cap(scale · q[t, h] · k[s, g])) v[s, g] over the tokens s ≤ t that t sees.
// Source:   Vaswani et al. 2017 (arXiv:1706.03762) §3.2; the softmax as the keys come by, arXiv:1805.02867.
// Grid:     attention: a workgroup for (b, key head g, a block of rows, a stretch of the keys). Rows are the tokens and
//           the heads that share g (row = token · heads of the group + head), four to a vec4, QUADS of those to a block.
//           Tiles of 64 keys: first a thread scores a key for all rows, then it sums up columns of the values.
//           attention_finish: a thread a value of y, put together from the stretches (if there are several), and behind
//           those a thread a word of the run's keys and values, which go into the slots when all have read them.
//           Where keys and values lie: slots.wgsl.
// Numerics: f32; the largest score so far is taken off before exp, and sums are scaled down when it grows.
override HEADS: u32;
override KV_HEADS: u32;
override DIM_K: u32;
override DIM_V: u32;
override GROWS: u32;    // 1: the slots grow; 0: they are rings of WINDOW rows
override WINDOW: u32;   // without one, more than there are positions
override HAS_CAP: u32;
override HALVES: u32;   // 1: a word of a slot is two f16, each head padded to whole words; 0: an f32
override SPLITS: u32;

struct Params {
  batch: u32,
  length: u32,
  blocks: u32,
  q_offset: u32,
  q_stride: u32,
  k_offset: u32,
  k_stride: u32,
  v_offset: u32,
  v_stride: u32,
  keys_offset: u32,
  keys_stride: u32,
  values_offset: u32,
  values_stride: u32,
  y_offset: u32,
  y_stride: u32,
  parts: u32,  // (B * T * nHead, SPLITS, 2 + headDimV): largest score, sum and weighted sum of each stretch
  scale: f32,
  soft_cap: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;    // q, k, v, y: (B * T, heads * headDim)
@group(0) @binding(2) var<storage, read> positions: array<i32>;      // room, then (B)
@group(1) @binding(0) var<storage, read_write> keys: array<u32>;     // (B, room or WINDOW, nKvHead, headDimK)
@group(1) @binding(1) var<storage, read_write> values: array<u32>;   // (B, room or WINDOW, nKvHead, headDimV)

const LOWEST = -3.0e38;

var<workgroup> queries: array<vec4<f32>, DIM_K * QUADS>;  // [dim][quad]
var<workgroup> scores: array<vec4<f32>, 64u * QUADS>;     // [key][quad]
var<workgroup> weights: array<vec4<f32>, 64u * QUADS>;    // [key][quad]

// ---- one stretch ------------------------------------------------------------------------------------------------

// A row's place: its token, and which head of all.
struct Row {
  token: u32,
  head: u32,
}

fn row_of(row: u32, kv_head: u32) -> Row {
  let group = HEADS / KV_HEADS;
  return Row(row / group, kv_head * group + row % group);
}

// The keys from `start` to before `end` that a block of rows sees, in stretches of `share`.
struct Seen {
  start: u32,
  end: u32,
  share: u32,
}

fn keys_seen(b: u32, first_row: u32) -> Seen {
  let group = HEADS / KV_HEADS;
  let before = u32(positions[1u + b]);
  let oldest = before + first_row / group;
  let end = before + (min(first_row + 4u * QUADS, params.length * group) - 1u) / group + 1u;
  let start = max(oldest + 1u, WINDOW) - WINDOW;
  return Seen(start, end, ((end - start + SPLITS - 1u) / SPLITS + 63u) / 64u * 64u);
}

fn query(b: u32, kv_head: u32, row: u32, i: u32) -> f32 {
  let rows = params.length * (HEADS / KV_HEADS);
  let place = row_of(min(row, rows - 1u), kv_head);
  return params.scale * arena[params.q_offset + (b * params.length + place.token) * params.q_stride + place.head * DIM_K + i];
}

@compute @workgroup_size(64)
fn attention(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid);
  let split = index % SPLITS;
  let first_row = index / SPLITS % params.blocks * 4u * QUADS;
  let pair = index / SPLITS / params.blocks;
  let b = pair / KV_HEADS;
  let kv_head = pair % KV_HEADS;
  if (b >= params.batch) {
    return;
  }
  let rows = params.length * (HEADS / KV_HEADS);
  let before = u32(positions[1u + b]);
  let seen = keys_seen(b, first_row);
  let first_key = seen.start + split * seen.share;
  // A short past fills few stretches; what puts them together counts those alone.
  if (first_key >= seen.end) {
    return;
  }
  let stop = min(seen.end, first_key + seen.share);

  for (var i = thread; i < DIM_K * QUADS; i += 64u) {
    let row = first_row + 4u * (i % QUADS);
    let dim = i / QUADS;
    queries[i] = vec4(
      query(b, kv_head, row, dim),
      query(b, kv_head, row + 1u, dim),
      query(b, kv_head, row + 2u, dim),
      query(b, kv_head, row + 3u, dim),
    );
  }
  workgroupBarrier();

  var most: array<vec4<f32>, QUADS>;
  var totals: array<vec4<f32>, QUADS>;
  var sums: array<vec4<f32>, SUMS>;  // [quad][columns thread, thread + 64, …]
  for (var quad = 0u; quad < QUADS; quad += 1u) {
    most[quad] = vec4(LOWEST);
  }
  for (var tile = first_key; tile < stop; tile += 64u) {
    let s = tile + thread;
    let dots = score(b, kv_head, before, s, s < stop);
    for (var quad = 0u; quad < QUADS; quad += 1u) {
      scores[thread * QUADS + quad] = select(vec4(LOWEST), dots[quad], sees(before, first_row + 4u * quad, s, stop));
    }
    workgroupBarrier();
    let count = min(64u, stop - tile);
    for (var quad = 0u; quad < QUADS; quad += 1u) {
      var largest = most[quad];
      for (var j = 0u; j < count; j += 1u) {
        largest = max(largest, scores[j * QUADS + quad]);
      }
      let keep = exp(most[quad] - largest);
      most[quad] = largest;
      totals[quad] *= keep;
      for (var c = 0u; c < SUMS / QUADS; c += 1u) {
        sums[quad * (SUMS / QUADS) + c] *= keep;
      }
      let weight = exp(scores[thread * QUADS + quad] - largest);
      weights[thread * QUADS + quad] = select(vec4(0.0), weight, sees(before, first_row + 4u * quad, s, stop));
    }
    workgroupBarrier();
    for (var j = 0u; j < count; j += 1u) {
      for (var quad = 0u; quad < QUADS; quad += 1u) {
        totals[quad] += weights[j * QUADS + quad];
      }
    }
    // Behind the last key the weights are 0.
    for (var j = 0u; j < count; j += 4u) {
      for (var c = 0u; c < SUMS / QUADS; c += 1u) {
        let i = thread + 64u * c;
        if (i < DIM_V) {
          let four = values_of(b, kv_head, before, tile + j, stop - 1u, i);
          for (var quad = 0u; quad < QUADS; quad += 1u) {
            let at = j * QUADS + quad;
            var sum = sums[quad * (SUMS / QUADS) + c];
            sum += weights[at] * four.x;
            sum += weights[at + QUADS] * four.y;
            sum += weights[at + 2u * QUADS] * four.z;
            sum += weights[at + 3u * QUADS] * four.w;
            sums[quad * (SUMS / QUADS) + c] = sum;
          }
        }
      }
    }
  }

  for (var r = 0u; r < min(4u * QUADS, rows - first_row); r += 1u) {
    let place = row_of(first_row + r, kv_head);
    let token = b * params.length + place.token;
    let part = params.parts + ((token * HEADS + place.head) * SPLITS + split) * (2u + DIM_V);
    let total = totals[r / 4u][r % 4u];
    if (SPLITS > 1u && thread == 0u) {
      arena[part] = most[r / 4u][r % 4u];
      arena[part + 1u] = total;
    }
    for (var c = 0u; c < SUMS / QUADS; c += 1u) {
      let i = thread + 64u * c;
      let sum = sums[r / 4u * (SUMS / QUADS) + c][r % 4u];
      if (i < DIM_V) {
        if (SPLITS > 1u) {
          arena[part + 2u + i] = sum;
        } else {
          arena[params.y_offset + token * params.y_stride + place.head * DIM_V + i] = sum / total;
        }
      }
    }
  }
}

alias Quads = array<vec4<f32>, QUADS>;

// The scores of token s, for all rows.
fn score(b: u32, kv_head: u32, before: u32, s: u32, is_key: bool) -> Quads {
  var dots: Quads;
  if (!is_key) {
    return dots;
  }
  let own = s >= before;
  var at: u32;
  if (own) {
    at = params.k_offset + (b * params.length + s - before) * params.k_stride + kv_head * DIM_K;
  } else {
    at = slot_at(params.keys_offset, params.keys_stride, b, s, kv_head, DIM_K);
  }
  let whole = DIM_K / 8u * 8u;
  for (var i = 0u; i < whole; i += 8u) {
    let low = four_of_key(own, at, i);
    let high = four_of_key(own, at, i + 4u);
    for (var quad = 0u; quad < QUADS; quad += 1u) {
      let first = i * QUADS + quad;
      var dot = dots[quad];
      dot += queries[first] * low.x;
      dot += queries[first + QUADS] * low.y;
      dot += queries[first + 2u * QUADS] * low.z;
      dot += queries[first + 3u * QUADS] * low.w;
      dot += queries[first + 4u * QUADS] * high.x;
      dot += queries[first + 5u * QUADS] * high.y;
      dot += queries[first + 6u * QUADS] * high.z;
      dot += queries[first + 7u * QUADS] * high.w;
      dots[quad] = dot;
    }
  }
  for (var i = whole; i < DIM_K; i += 1u) {
    let key = one_of_key(own, at, i);
    for (var quad = 0u; quad < QUADS; quad += 1u) {
      dots[quad] += queries[i * QUADS + quad] * key;
    }
  }
  if (HAS_CAP == 1u) {
    for (var quad = 0u; quad < QUADS; quad += 1u) {
      for (var r = 0u; r < 4u; r += 1u) {
        dots[quad][r] = params.soft_cap * tanh_exactly(dots[quad][r] / params.soft_cap);
      }
    }
  }
  return dots;
}

// Which of the four rows from `row` on see token s.
fn sees(before: u32, row: u32, s: u32, stop: u32) -> vec4<bool> {
  let seers = vec4(before) + (vec4(row) + vec4(0u, 1u, 2u, 3u)) / (HEADS / KV_HEADS);
  return (seers >= vec4(s)) & (seers < vec4(s + WINDOW)) & vec4(s < stop);
}

// ---- behind all stretches ---------------------------------------------------------------------------------------

fn combine(index: u32) {
  let row = index / DIM_V;
  let i = index % DIM_V;
  let group = HEADS / KV_HEADS;
  let token = row / HEADS;
  let row_of_pair = token % params.length * group + row % HEADS % group;
  let seen = keys_seen(token / params.length, row_of_pair / (4u * QUADS) * 4u * QUADS);
  let stretches = (seen.end - seen.start + seen.share - 1u) / seen.share;
  let parts = params.parts + row * SPLITS * (2u + DIM_V);
  var largest = LOWEST;
  for (var split = 0u; split < stretches; split += 1u) {
    largest = max(largest, arena[parts + split * (2u + DIM_V)]);
  }
  var total = 0.0;
  var sum = 0.0;
  for (var split = 0u; split < stretches; split += 1u) {
    let part = parts + split * (2u + DIM_V);
    let weight = exp(arena[part] - largest);
    total += weight * arena[part + 1u];
    sum += weight * arena[part + 2u + i];
  }
  arena[params.y_offset + row / HEADS * params.y_stride + row % HEADS * DIM_V + i] = sum / total;
}

// Word `word` of one head of the run's keys or values, as the slot keeps it.
fn own_word(at: u32, word: u32, dim: u32) -> u32 {
  if (HALVES == 0u) {
    return bitcast<u32>(arena[at + word]);
  }
  var pair = half_of(arena[at + 2u * word]);
  if (2u * word + 1u < dim) {
    pair |= half_of(arena[at + 2u * word + 1u]) << 16u;
  }
  return pair;
}

@compute @workgroup_size(64)
fn attention_finish(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup, grid) * 64u + thread;
  let combined = select(0u, params.batch * params.length * HEADS * DIM_V, SPLITS > 1u);
  if (index < combined) {
    combine(index);
    return;
  }
  let key_words = head_words(DIM_K);
  let value_words = head_words(DIM_V);
  // A chunk longer than the window leaves only its last tokens.
  let kept = min(params.length, WINDOW);
  let words = KV_HEADS * (key_words + value_words);
  let b = (index - combined) / words / kept;
  let t = params.length - kept + (index - combined) / words % kept;
  if (b >= params.batch) {
    return;
  }
  let word = (index - combined) % words;
  let token = u32(positions[1u + b]) + t;
  let row = b * params.length + t;
  if (word < KV_HEADS * key_words) {
    let kv_head = word / key_words;
    let to = slot_at(params.keys_offset, params.keys_stride, b, token, kv_head, DIM_K) + word % key_words;
    keys[to] = own_word(params.k_offset + row * params.k_stride + kv_head * DIM_K, word % key_words, DIM_K);
  } else {
    let kv_head = (word - KV_HEADS * key_words) / value_words;
    let to = slot_at(params.values_offset, params.values_stride, b, token, kv_head, DIM_V) + (word - KV_HEADS * key_words) % value_words;
    values[to] = own_word(
      params.v_offset + row * params.v_stride + kv_head * DIM_V,
      (word - KV_HEADS * key_words) % value_words,
      DIM_V,
    );
  }
}
