// sampled: the next id of sequence b by its rule, as kernels/spec/choice.ts defines it and models/generate computes it on the host;
// -1 where a logit is NaN or +∞, or all are -∞; and the natural logarithm of its probability by the logits as they are. Then
// the sequence's stamps and their count move on.
// Grid:     sampled_pieces: a workgroup a sequence and piece of its row; sampled: one a sequence, over the pieces and then the row.
// Numerics: what decides is whole numbers, and differences and products in f32, which WGSL rounds correctly; nothing is a product
//           and a sum that a driver could fuse, and what may be flushed to 0 is set to 0. The logarithm is f32.
// In the arena: logits (B, vocab) f32; weights (1025) u32; rules (B, RULE) words; stamps (B, vocab) u32; uniforms (runs, B) u32;
// and what keep_choice in largest.wgsl writes.
struct Params {
  logits: u32,
  vocab: u32,
  piece: u32,   // values of a piece
  pieces: u32,  // of a row
  best: u32,    // scratch: (B, pieces) of the best logit's key and place, its piece's sum of exponentials, the best score's key and place
  batch: u32,
  ids: u32,
  counts: u32,
  history: u32,
  weights: u32,
  rules: u32,
  stamps: u32,
  uniforms: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

const PIECE_WORDS = 5u;
const NEVER = 0xffffffffu;
const MOST_DISTANCE = 0x1efffffu;  // 31 bits
const BINS = 512u;

struct Rule {
  draws: u32,
  scale: f32,
  far: f32,
  top_k: u32,
  top_p: u32,
  most_distance: u32,
  window: u32,
  above: f32,
  below: f32,
  fed: u32,  // ids so far that have a stamp: an id's stamp is the number of its last one, from 1; 0 for none
}

const RULE_WORDS = 10u;

fn rule_of(row: u32) -> Rule {
  let at = params.rules + row * RULE_WORDS;
  return Rule(
    arena[at],
    bitcast<f32>(arena[at + 1u]),
    bitcast<f32>(arena[at + 2u]),
    arena[at + 3u],
    arena[at + 4u],
    arena[at + 5u],
    arena[at + 6u],
    bitcast<f32>(arena[at + 7u]),
    bitcast<f32>(arena[at + 8u]),
    arena[at + 9u],
  );
}

var<private> rule: Rule;
var<private> row: u32;
// The largest score, bounded.
var<private> top: f32;

// The word of a logit, with the penalty of its stamp.
fn penalised(bits: u32, stamp: u32) -> u32 {
  if (stamp == 0u || rule.fed - stamp >= rule.window || (bits & 0x7f800000u) == 0x7f800000u) {
    return bits;
  }
  let value = clamp(bitcast<f32>(bits), -0x1p63f, 0x1p63f);
  if (abs(value) < 0x1p-120f) {
    return 0u;
  }
  let product = value * select(rule.below, rule.above, value > 0.0);
  return select(bitcast<u32>(product), 0u, abs(product) < 0x1p-120f);
}

fn score_of(place: u32) -> u32 {
  let bits = arena[params.logits + row * params.vocab + place];
  if (rule.window == 0u) {
    return bits;
  }
  return penalised(bits, arena[params.stamps + row * params.vocab + place]);
}

fn bounded(bits: u32) -> f32 {
  return clamp(bitcast<f32>(bits), -0x1p126f, 0x1p126f);
}

// Of a score's word.
fn distance_of(bits: u32) -> u32 {
  if (bits == 0xff800000u) {
    return NEVER;
  }
  let gap = top - bounded(bits);
  if (!(gap < rule.far)) {
    return NEVER;
  }
  return select(u32(gap * rule.scale), 0u, gap < 0x1p-100f);
}

// Logits that a thread asks for at once: few threads wait for memory, so that each must have much on its way.
const AHEAD = 8u;

// The distances at a place and every `step` behind it.
fn distances_at(place: u32, step: u32) -> array<u32, AHEAD> {
  let last = params.vocab - 1u;
  var words: array<u32, AHEAD>;
  for (var i = 0u; i < AHEAD; i++) {
    words[i] = arena[params.logits + row * params.vocab + min(place + i * step, last)];
  }
  if (rule.window != 0u) {
    var stamps: array<u32, AHEAD>;
    for (var i = 0u; i < AHEAD; i++) {
      stamps[i] = arena[params.stamps + row * params.vocab + min(place + i * step, last)];
    }
    for (var i = 0u; i < AHEAD; i++) {
      words[i] = penalised(words[i], stamps[i]);
    }
  }
  for (var i = 0u; i < AHEAD; i++) {
    words[i] = select(distance_of(words[i]), NEVER, place + i * step > last);
  }
  return words;
}

fn weight_of(distance: u32) -> u32 {
  let at = params.weights + ((distance >> 10u) & 1023u);
  let from_end = arena[at];
  let fall = ((from_end - arena[at + 1u]) * (distance & 1023u)) >> 10u;
  return (from_end - fall) >> (distance >> 20u);
}

// Whole numbers of 64 bits: the lower half, and the upper.
fn plus(a: vec2u, b: vec2u) -> vec2u {
  let low = a.x + b.x;
  return vec2u(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn minus(a: vec2u, b: vec2u) -> vec2u {
  return vec2u(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}

fn less(a: vec2u, b: vec2u) -> bool {
  return a.y < b.y || (a.y == b.y && a.x < b.x);
}

fn product_of(a: u32, b: u32) -> vec2u {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu);
  let other = (a & 0xffffu) * (b >> 16u);
  let high = (a >> 16u) * (b >> 16u);
  return plus(plus(vec2u(low, high), vec2u(middle << 16u, middle >> 16u)), vec2u(other << 16u, other >> 16u));
}

// ⌊total · part / 2³²⌋
fn share(total: vec2u, part: u32) -> vec2u {
  return plus(product_of(total.y, part), vec2u(product_of(total.x, part).y, 0u));
}

// Sums by digit: the lower halves, and the upper.
var<workgroup> lows: array<atomic<u32>, BINS>;
var<workgroup> highs: array<atomic<u32>, BINS>;
// Sums of the bins up to a thread's last.
var<workgroup> reached: array<vec2u, THREADS>;

struct Found {
  bin: u32,
  before: vec2u,
}

var<workgroup> found: Found;

fn clear_bins(thread: u32) {
  for (var bin = thread; bin < BINS; bin += THREADS) {
    atomicStore(&lows[bin], 0u);
    atomicStore(&highs[bin], 0u);
  }
  workgroupBarrier();
}

fn add_to(bin: u32, amount: u32) {
  let old = atomicAdd(&lows[bin], amount);
  if (old + amount < old) {
    atomicAdd(&highs[bin], 1u);
  }
}

fn sum_in(bin: u32) -> vec2u {
  return vec2u(atomicLoad(&lows[bin]), atomicLoad(&highs[bin]));
}

// Fills `reached`, and gives the sum of all bins, in every thread.
fn scan_bins(thread: u32) -> vec2u {
  workgroupBarrier();
  var own = vec2u(0u);
  for (var bin = thread * (BINS / THREADS); bin < (thread + 1u) * (BINS / THREADS); bin++) {
    own = plus(own, sum_in(bin));
  }
  reached[thread] = own;
  for (var step = 1u; step < THREADS; step *= 2u) {
    workgroupBarrier();
    var before = vec2u(0u);
    if (thread >= step) {
      before = reached[thread - step];
    }
    workgroupBarrier();
    reached[thread] = plus(reached[thread], before);
  }
  workgroupBarrier();
  return reached[THREADS - 1u];
}

// The bin with which the sum first reaches what is needed, from 1 to all, and the sum before it; behind scan_bins.
fn find_bin(needed: vec2u, thread: u32) -> Found {
  var before = vec2u(0u);
  if (thread > 0u) {
    before = reached[thread - 1u];
  }
  for (var bin = thread * (BINS / THREADS); bin < (thread + 1u) * (BINS / THREADS); bin++) {
    let after = plus(before, sum_in(bin));
    if (less(before, needed) && !less(after, needed)) {
      found = Found(bin, before);
    }
    before = after;
  }
  workgroupBarrier();
  let result = found;
  workgroupBarrier();
  return result;
}

// The least distance up to which as many tokens lie, or as much weight, as the rule wants of those up to `limit`.
fn threshold(limit: u32, by_weight: bool, thread: u32) -> u32 {
  var prefix = 0u;
  var needed = vec2u(rule.top_k, 0u);
  // Digits of 9, 8 and 8 bits.
  for (var level = 0u; level < 3u; level++) {
    let shift = 16u - 8u * level;
    clear_bins(thread);
    for (var place = thread; place < params.vocab; place += AHEAD * THREADS) {
      let distances = distances_at(place, THREADS);
      for (var i = 0u; i < AHEAD; i++) {
        let distance = distances[i];
        if (distance <= limit && (level == 0u || (distance >> (shift + 8u)) == prefix)) {
          let digit = (distance >> shift) & select(255u, 511u, level == 0u);
          if (by_weight) {
            add_to(digit, weight_of(distance));
          } else {
            add_to(digit, 1u);
          }
        }
      }
    }
    let total = scan_bins(thread);
    if (level == 0u) {
      if (by_weight) {
        needed = share(total, rule.top_p);
        needed.x = select(needed.x, 1u, needed.x == 0u && needed.y == 0u);
      } else if (less(total, needed)) {
        needed = total;
      }
    }
    let digit = find_bin(needed, thread);
    needed = minus(needed, digit.before);
    prefix = (prefix << 8u) | digit.bin;
  }
  return prefix;
}

// The token at the place of the run's uniform number among the weights up to `limit`, in the order of ids' digits, lowest first.
fn draw(limit: u32, thread: u32) -> u32 {
  let uniform_at = params.uniforms + arena[params.counts + row] * params.batch + row;
  var token = 0u;
  var needed = vec2u(0u);
  for (var stride = 1u; stride < params.vocab; stride *= BINS) {
    clear_bins(thread);
    let step = stride * THREADS;
    for (var place = token + stride * thread; place < params.vocab; place += AHEAD * step) {
      let distances = distances_at(place, step);
      for (var i = 0u; i < AHEAD; i++) {
        if (distances[i] <= limit) {
          add_to(((place + i * step) / stride) % BINS, weight_of(distances[i]));
        }
      }
    }
    let total = scan_bins(thread);
    if (stride == 1u) {
      needed = plus(share(total, arena[uniform_at]), vec2u(1u, 0u));
    }
    let digit = find_bin(needed, thread);
    needed = minus(needed, digit.before);
    token += digit.bin * stride;
  }
  return token;
}

// Of the workgroup, in every thread.
struct Best {
  logit: Candidate,
  score: Candidate,  // with the penalty
}

// Both in one go, as barriers are what they cost; `reached` is not in use yet.
fn best_of_both(own: Best, thread: u32) -> Best {
  candidates[thread] = own.logit;
  reached[thread] = vec2u(own.score.key, own.score.place);
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) {
      candidates[thread] = better(candidates[thread], candidates[thread + half]);
      let score = better(score_in(thread), score_in(thread + half));
      reached[thread] = vec2u(score.key, score.place);
    }
  }
  workgroupBarrier();
  return Best(candidates[0], score_in(0u));
}

fn score_in(thread: u32) -> Candidate {
  return Candidate(reached[thread].x, reached[thread].y);
}

@compute @workgroup_size(THREADS)
fn sampled_pieces(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  row = workgroup.y;
  rule = rule_of(row);
  let row_at = params.logits + row * params.vocab;
  let begin = workgroup.x * params.piece;
  let end = min(begin + params.piece, params.vocab);
  var own = Best(Candidate(0u, NOWHERE), Candidate(0u, NOWHERE));
  for (var i = begin + thread; i < end; i += THREADS) {
    own.logit = better(own.logit, candidate_of(arena[row_at + i], i));
    own.score = better(own.score, candidate_of(score_of(i), i));
  }
  let best = best_of_both(own, thread);
  let sum = sum_of_powers(row_at, begin, end, best.logit, thread);
  if (thread == 0u) {
    let at = params.best + PIECE_WORDS * (row * params.pieces + workgroup.x);
    arena[at] = best.logit.key;
    arena[at + 1u] = best.logit.place;
    arena[at + 2u] = bitcast<u32>(sum);
    arena[at + 3u] = best.score.key;
    arena[at + 4u] = best.score.place;
  }
}

const DRAWS = 1u;
const TOP_K = 2u;
const TOP_P = 4u;

// What the row's choice takes.
var<workgroup> stages: u32;

@compute @workgroup_size(THREADS)
fn sampled(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  row = workgroup.x;
  rule = rule_of(row);
  let row_at = params.best + PIECE_WORDS * row * params.pieces;
  var own = Best(Candidate(0u, NOWHERE), Candidate(0u, NOWHERE));
  for (var piece = thread; piece < params.pieces; piece += THREADS) {
    let at = row_at + PIECE_WORDS * piece;
    own.logit = better(own.logit, Candidate(arena[at], arena[at + 1u]));
    own.score = better(own.score, Candidate(arena[at + 3u], arena[at + 4u]));
  }
  let best = best_of_both(own, thread);
  let sum = sum_of_pieces(row_at, params.pieces, PIECE_WORDS, best.logit, thread);
  var token = best.score.place;
  if (thread == 0u) {
    stages = select(0u, DRAWS, rule.draws != 0u && token != NOWHERE) | select(0u, TOP_K, rule.top_k != 0u) | select(0u, TOP_P, rule.top_p != 0u);
  }
  let wanted = workgroupUniformLoad(&stages);
  if ((wanted & DRAWS) != 0u) {
    top = clamp(value_of(best.score.key), -0x1p126f, 0x1p126f);
    var limit = MOST_DISTANCE;
    if ((wanted & TOP_K) != 0u) {
      limit = threshold(limit, false, thread);
    }
    if ((wanted & TOP_P) != 0u) {
      limit = threshold(limit, true, thread);
    }
    token = draw(min(limit, rule.most_distance), thread);
  }
  if (thread == 0u) {
    var log_prob = 0.0;
    if (token != NOWHERE) {
      log_prob = bitcast<f32>(arena[params.logits + row * params.vocab + token]) - value_of(best.logit.key) - log(sum);
      if (rule.window != 0u) {
        arena[params.stamps + row * params.vocab + token] = rule.fed + 1u;
        arena[params.rules + row * RULE_WORDS + 9u] = rule.fed + 1u;
      }
    }
    keep_choice(row, token, log_prob);
  }
}
