// What ssd's kernels on matrix units share; their entry points are written out by ssd-scores-matrix.ts, ssd-ends-matrix.ts and ssd-output-matrix.ts, or stand in ssd-combine-matrix.wgsl.
// Numerics: factors are f16 with powers of two taken out, so that no value is too large and the largest keep all their bits:
//           of B and C for each token; of x and h, and so of all sums, for each chunk and 64 channels. Products are exact,
//           sums, decays and the states themselves f32.
// The arena is declared by arena-vectors.wgsl: x, z, y: (B * T, nHead * headDim); dtRaw: (B * T, nHead); B, C: (B * T,
// nGroup * dState); scratch.
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

fn arena_values(at: u32) -> vec4<f32> {
  return bitcast<vec4<f32>>(arena_four(at));
}

// Eight values as f16.
fn halves_of(low: vec4<f32>, high: vec4<f32>) -> vec4<u32> {
  return vec4<u32>(bitcast<vec2<u32>>(vec4<f16>(low)), bitcast<vec2<u32>>(vec4<f16>(high)));
}

fn low_of(halves: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(bitcast<vec4<f16>>(halves.xy));
}

fn high_of(halves: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(bitcast<vec4<f16>>(halves.zw));
}

fn largest_of(four: vec4<f32>) -> f32 {
  let size = abs(four);
  return max(max(size.x, size.y), max(size.z, size.w));
}

// The power of two that brings `largest` to 2^exponent … 2^(exponent + 1); 1 for what has none.
fn scale_for(largest: f32, exponent: u32) -> f32 {
  return power_for(bitcast<u32>(largest), exponent);
}

// The f16 values of B or C of a token and group, from state n on, in vectors.
fn shared_at(halves: u32, row: u32, group: u32, n: u32) -> u32 {
  return (halves + (row * params.groups + group) * (D_STATE / 2u)) / 4u + n / 8u;
}

// The f16 values of a channel's state at the start of a chunk, from state n on, in vectors.
fn start_at(sequence_chunk: u32, channel: u32, n: u32) -> u32 {
  return (params.starts + (sequence_chunk * params.heads * params.head_dim + channel) * (D_STATE / 2u)) / 4u + n / 8u;
}

// The f16 scores of token i of a chunk and group with tokens j, j + 1, …, in vectors.
fn score_at(chunk_group: u32, i: u32, j: u32) -> u32 {
  return (params.scores + (chunk_group * CHUNK + i) * (CHUNK / 2u)) / 4u + j / 8u;
}

fn x_at(row: u32, channel: u32) -> u32 {
  return params.x_offset + row * params.x_stride + channel;
}

// dt of a token, with what its B is to be multiplied by.
fn factor_at(row: u32, head: u32, group: u32) -> f32 {
  return arena_one(per_token(params.dts, row, head)) * arena_one(params.b_scales + row * params.groups + group);
}

// D x of four channels.
fn skip_of(row: u32, channel: u32, head: u32) -> vec4<f32> {
  if (params.has_d == 0u) {
    return vec4<f32>();
  }
  return D[head] * arena_values(x_at(row, channel));
}

// silu(z) of four channels.
fn gate_of(row: u32, channel: u32) -> vec4<f32> {
  if (params.has_z == 0u) {
    return vec4<f32>(1.0);
  }
  let z = arena_values(params.z_offset + row * params.z_stride + channel);
  return vec4<f32>(silu(z.x), silu(z.y), silu(z.z), silu(z.w));
}
