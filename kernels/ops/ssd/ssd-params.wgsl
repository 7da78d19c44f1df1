// What all of ssd's kernels share: sizes, operands and dt. Head p belongs to group floor(p · nGroup / nHead).
// Sizes are parameters, not constants: a pipeline then serves every model, and compiling costs more than the divisions.
struct Params {
  batch: u32,
  length: u32,  // T
  chunk: u32,   // Q, tokens of a chunk
  chunks: u32,
  x_offset: u32,
  x_stride: u32,
  dt_offset: u32,
  dt_stride: u32,
  b_offset: u32,
  b_stride: u32,
  c_offset: u32,
  c_stride: u32,
  z_offset: u32,
  z_stride: u32,
  y_offset: u32,
  y_stride: u32,
  state_offset: u32,
  state_stride: u32,
  heads: u32,     // nHead
  head_dim: u32,  // headDim
  groups: u32,    // nGroup
  d_state: u32,   // dState
  has_dt_bias: u32,
  dt_softplus: u32,
  has_d: u32,
  has_z: u32,
  dt_min: f32,
  dt_max: f32,
  dts: u32,     // scratch: dt, (nHead, B * T)
  sums: u32,    // scratch: Σ dt A from the chunk's start up to t, (nHead, B * T)
  scores: u32,  // scratch: C Bᵀ, (B, chunks, nGroup, Q, Q), only j ≤ i is written
  ends: u32,    // scratch: h at the end, then at the start of a chunk, (B, chunks, nHead, headDim, dState)
  // Further scratch of ssd-matrix.wgsl.
  b_halves: u32,      // B in f16, each token's brought to where its largest is in 1 … 2: (B * T, nGroup, dState)
  b_scales: u32,      // what that is to be multiplied by: (B * T, nGroup)
  c_halves: u32,      // C so
  c_scales: u32,
  most_of_x: u32,     // of |x|: (B, chunks, tiles of channels)
  end_scales: u32,    // what `ends` are to be multiplied by: (B, chunks, tiles of channels)
  starts: u32,        // h at the start of a chunk in f16, (B, chunks, nHead, headDim, dState)
  most_of_starts: u32,  // of |h| there, which tells the power of two: (B, chunks, nHead, headDim)
}

// What reads and writes the arena is in ssd-lanes.wgsl and ssd-matrix.wgsl.
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> A: array<f32>;            // (nHead), negative
@group(0) @binding(3) var<storage, read> dt_bias: array<f32>;      // (nHead)
@group(0) @binding(4) var<storage, read> D: array<f32>;            // (nHead)
@group(1) @binding(0) var<storage, read_write> state: array<f32>;  // h: (B, nHead, headDim, dState)

fn dt_at(row: u32, head: u32) -> f32 {
  var dt = arena_one(params.dt_offset + row * params.dt_stride + head);
  if (params.has_dt_bias == 1u) {
    dt += dt_bias[head];
  }
  if (params.dt_softplus == 1u) {
    dt = softplus(dt);
  }
  return clamp(dt, params.dt_min, params.dt_max);
}

// Where the values of a chunk lie.
struct Chunk {
  sequence_chunk: u32,  // b * chunks + chunk
  first_row: u32,       // of the (B * T) rows
  tokens: u32,          // Q, fewer in the last
}

fn chunk_at(sequence_chunk: u32) -> Chunk {
  let b = sequence_chunk / params.chunks;
  let first = (sequence_chunk % params.chunks) * params.chunk;
  return Chunk(sequence_chunk, b * params.length + first, min(params.chunk, params.length - first));
}

// The place of a token's value in (nHead, B * T).
fn per_token(first: u32, row: u32, head: u32) -> u32 {
  return first + head * params.batch * params.length + row;
}

fn sum_at(row: u32, head: u32) -> f32 {
  return arena_one(per_token(params.sums, row, head));
}

fn end_at(sequence_chunk: u32, channel: u32) -> u32 {
  return params.ends + (sequence_chunk * params.heads * params.head_dim + channel) * params.d_state;
}
