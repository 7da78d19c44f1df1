// What both choices do: look for the largest logits, as keys whose order as integers is that of the values, sum over a workgroup,
// and keep what was chosen.
// Values are compared as words: what WGSL makes of NaN and infinity in f32 arithmetic is the compiler's affair.
override THREADS: u32 = 256u;  // a power of two

@group(0) @binding(1) var<storage, read_write> arena: array<u32>;

// A value, as a key whose order as an integer is the value's, and its index.
struct Candidate {
  key: u32,
  place: u32,
}

const NOWHERE = 0xffffffffu;
// No value that is compared has this key.
const BROKEN = Candidate(0xffffffffu, NOWHERE);

var<workgroup> candidates: array<Candidate, THREADS>;
var<workgroup> sums: array<f32, THREADS>;

// -0 is +0, as in comparisons; -∞ is never chosen.
fn candidate_of(bits: u32, place: u32) -> Candidate {
  if ((bits & 0x7fffffffu) > 0x7f800000u || bits == 0x7f800000u) {
    return BROKEN;
  }
  if (bits == 0xff800000u) {
    return Candidate(0u, NOWHERE);
  }
  let word = select(bits, 0u, bits == 0x80000000u);
  return Candidate(select(word | 0x80000000u, ~word, (word & 0x80000000u) != 0u), place);
}

// The larger, of equals the first.
fn better(a: Candidate, b: Candidate) -> Candidate {
  if (b.key > a.key || (b.key == a.key && b.place < a.place)) {
    return b;
  }
  return a;
}

// The value whose key it is.
fn value_of(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

// The best of the workgroup's, in every thread.
fn best_of(own: Candidate, thread: u32) -> Candidate {
  candidates[thread] = own;
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) {
      candidates[thread] = better(candidates[thread], candidates[thread + half]);
    }
  }
  workgroupBarrier();
  return candidates[0];
}

// Σ over the workgroup, in thread 0.
fn sum_of(own: f32, thread: u32) -> f32 {
  sums[thread] = own;
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) {
      sums[thread] += sums[thread + half];
    }
  }
  return sums[thread];
}

// Σ exp(value - best) over the workgroup's values from `begin` to `end` of the row that lies at `row_at`, in thread 0.
fn sum_of_powers(row_at: u32, begin: u32, end: u32, best: Candidate, thread: u32) -> f32 {
  let largest = value_of(best.key);
  var own = 0.0;
  for (var i = begin + thread; i < end; i += THREADS) {
    let other = candidate_of(arena[row_at + i], i);
    if (other.place != NOWHERE && best.place != NOWHERE) {
      own += exp(value_of(other.key) - largest);
    }
  }
  return sum_of(own, thread);
}

// The same of a row's pieces, in thread 0. At `row_at`: (pieces, words), the best one's key and place, and the sum of its powers, first.
fn sum_of_pieces(row_at: u32, pieces: u32, words: u32, best: Candidate, thread: u32) -> f32 {
  var own = 0.0;
  for (var piece = thread; piece < pieces; piece += THREADS) {
    let at = row_at + words * piece;
    if (arena[at + 1u] != NOWHERE && best.place != NOWHERE) {
      own += bitcast<f32>(arena[at + 2u]) * exp(value_of(arena[at]) - value_of(best.key));
    }
  }
  return sum_of(own, thread);
}

// Makes the token the next id of the sequence in `row`, and keeps it with the logarithm of its probability, for the host: ids (B) i32;
// counts (B) of the runs so far; history (runs, 2, B), i32 and f32.
fn keep_choice(row: u32, token: u32, log_prob: f32) {
  let run = arena[params.counts + row];
  arena[params.counts + row] = run + 1u;
  arena[params.ids + row] = token;
  let at = params.history + 2u * run * params.batch + row;
  arena[at] = token;
  arena[at + params.batch] = bitcast<u32>(log_prob);
}
