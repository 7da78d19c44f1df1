// greedy: the next id of sequence b = the first index of the largest value of row b of the logits; -1 where a value is NaN or +∞,
// or all are -∞; and the natural logarithm of its probability: of the largest logit l, −ln Σ exp(l_i − l).
// Grid:     greedy_pieces: a workgroup a sequence and piece of its row; greedy: one a sequence, over the pieces.
// Numerics: the choice is exact; the sum is f32, in a fixed order.
// In the arena: logits (B, vocab) f32, and what keep_choice in largest.wgsl writes.
struct Params {
  logits: u32,
  vocab: u32,
  piece: u32,   // values of a piece
  pieces: u32,  // of a row
  best: u32,    // scratch: (B, pieces) of a Candidate's words and its sum of exponentials
  batch: u32,
  ids: u32,
  counts: u32,
  history: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

const PIECE_WORDS = 3u;

@compute @workgroup_size(THREADS)
fn greedy_pieces(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let row_at = params.logits + workgroup.y * params.vocab;
  let begin = workgroup.x * params.piece;
  let end = min(begin + params.piece, params.vocab);
  var own = Candidate(0u, NOWHERE);
  for (var i = begin + thread; i < end; i += THREADS) {
    own = better(own, candidate_of(arena[row_at + i], i));
  }
  let best = best_of(own, thread);
  let sum = sum_of_powers(row_at, begin, end, best, thread);
  if (thread == 0u) {
    let at = params.best + PIECE_WORDS * (workgroup.y * params.pieces + workgroup.x);
    arena[at] = best.key;
    arena[at + 1u] = best.place;
    arena[at + 2u] = bitcast<u32>(sum);
  }
}

@compute @workgroup_size(THREADS)
fn greedy(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let row_at = params.best + PIECE_WORDS * workgroup.x * params.pieces;
  var own = Candidate(0u, NOWHERE);
  for (var piece = thread; piece < params.pieces; piece += THREADS) {
    let at = row_at + PIECE_WORDS * piece;
    own = better(own, Candidate(arena[at], arena[at + 1u]));
  }
  let best = best_of(own, thread);
  let sum = sum_of_pieces(row_at, params.pieces, PIECE_WORDS, best, thread);
  if (thread == 0u) {
    keep_choice(workgroup.x, best.place, select(-log(sum), 0.0, best.place == NOWHERE));
  }
}
