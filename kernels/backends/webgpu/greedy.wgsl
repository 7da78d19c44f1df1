// greedy: choice[b] = the first index of the largest value of row b of the logits; -1 where a value is NaN or +∞, or all are -∞.
// Grid:     a workgroup a sequence; its threads stride over the row, then halve.
// Numerics: exact. Values are read as words: what WGSL makes of NaN and infinity in f32 arithmetic is the compiler's affair.
override THREADS: u32 = 256u;  // a power of two

struct Params {
  logits: u32,
  stride: u32,
  vocab: u32,
  choice: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<u32>;  // logits: (B, vocab) f32; choice: (B) i32

var<workgroup> keys: array<u32, THREADS>;
var<workgroup> places: array<u32, THREADS>;

const NOWHERE = 0xffffffffu;

// Words whose order as integers is that of the values; -0 is +0, as in comparisons.
fn key_of(bits: u32) -> u32 {
  let word = select(bits, 0u, bits == 0x80000000u);
  return select(word | 0x80000000u, ~word, (word & 0x80000000u) != 0u);
}

@compute @workgroup_size(THREADS)
fn greedy(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let first = params.logits + workgroup.x * params.stride;
  var best = 0u;
  var place = NOWHERE;
  var broken = false;
  for (var i = thread; i < params.vocab; i += THREADS) {
    let bits = arena[first + i];
    broken = broken || (bits & 0x7fffffffu) > 0x7f800000u || bits == 0x7f800000u;
    let key = key_of(bits);
    // Ascending i: the first of equals stays. -∞ is never chosen.
    if (key > best && bits != 0xff800000u) {
      best = key;
      place = i;
    }
  }
  // No value has this key: NaN's bits alone reach it, and those are not compared any more.
  keys[thread] = select(best, 0xffffffffu, broken);
  places[thread] = select(place, NOWHERE, broken);
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) {
      let other = keys[thread + half];
      let nearer = other == keys[thread] && places[thread + half] < places[thread];
      if (other > keys[thread] || nearer) {
        keys[thread] = other;
        places[thread] = places[thread + half];
      }
    }
  }
  if (thread == 0u) {
    arena[params.choice + workgroup.x] = places[0];
  }
}
