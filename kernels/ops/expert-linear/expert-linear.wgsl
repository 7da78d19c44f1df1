// expert_linear: p_j = x_j W[e_j]ᵀ + bias[e_j], and with weights y = residual + Σ_j weights_j p_j, for few tokens an expert.
// Source:   Shazeer et al. 2017 (arXiv:1701.06538) eq. 1; memory bound, as linear.wgsl is.
// Grid:     a team of TEAM lanes computes 4 outputs of one row of x, with all of its experts where the products are
//           weighted, with one of them where they stay apart; TEAMS teams a workgroup. Lanes stride over rows of W by 16
//           bytes. A matrix that is split over buffers is one dispatch a part, which adds its experts' products.
// Numerics: f32 throughout; lane sums, then the team's sum in a fixed order, then the experts in the order of j.
override WEIGHTED: u32;

struct Params {
  rows: u32,  // of x
  x_offset: u32,
  x_stride: u32,
  x_step: u32,  // columns of x from one expert's part to the next's, 0: all have the same
  y_offset: u32,
  y_stride: u32,
  experts_offset: u32,
  experts_stride: u32,
  weights_offset: u32,
  weights_stride: u32,
  residual_offset: u32,
  residual_stride: u32,
  top_k: u32,
  n_expert: u32,
  outputs: u32,    // R: rows of W for each expert
  first_row: u32,  // of W, in this part
  part_rows: u32,
  k: u32,            // columns of W
  row_vectors: u32,  // 16-byte vectors a packed row
  scale_words: u32,  // words of what a row's blocks share
  has_bias: u32,
  has_residual: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;    // x: (rows, K or topK * K); y: (rows, R or topK * R)
@group(0) @binding(2) var<storage, read> values: array<vec4<u32>>;   // (part_rows, K) packed
@group(0) @binding(3) var<storage, read> scales: array<u32>;         // (part_rows, scale_words), see unpack.wgsl
@group(0) @binding(4) var<storage, read> bias: array<f32>;           // (nExpert * R)

// Values k … k + 3 from `at` on. What lies beyond K is another expert's, or anything, and is read as 0.
fn x_at(at: u32, k: u32) -> vec4<f32> {
  return vec4<f32>(
    select(0.0, arena[at + k], k < params.k),
    select(0.0, arena[at + k + 1u], k + 1u < params.k),
    select(0.0, arena[at + k + 2u], k + 2u < params.k),
    select(0.0, arena[at + k + 3u], k + 3u < params.k),
  );
}

// This lane's share of 4 rows of W times a part of x.
fn lane_sums(rows: vec4<u32>, x: u32, lane: u32) -> vec4<f32> {
  var acc = vec4<f32>();
  for (var v = lane; v < params.row_vectors; v += TEAM) {
    let packed0 = values[rows.x * params.row_vectors + v];
    let packed1 = values[rows.y * params.row_vectors + v];
    let packed2 = values[rows.z * params.row_vectors + v];
    let packed3 = values[rows.w * params.row_vectors + v];
    let block0 = block_of(rows.x * params.scale_words, v);
    let block1 = block_of(rows.y * params.scale_words, v);
    let block2 = block_of(rows.z * params.scale_words, v);
    let block3 = block_of(rows.w * params.scale_words, v);
    for (var quarter = 0u; quarter < VALUES / 4u; quarter += 1u) {
      let four = mat4x4<f32>(
        four_weights(packed0, block0, quarter),
        four_weights(packed1, block1, quarter),
        four_weights(packed2, block2, quarter),
        four_weights(packed3, block3, quarter),
      );
      acc += x_at(x, v * VALUES + 4u * quarter) * four;
    }
  }
  return acc;
}

@compute @workgroup_size(TEAM * TEAMS)
fn expert_linear(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let lane = thread % TEAM;
  let team = workgroup_index(workgroup, grid) * TEAMS + thread / TEAM;
  let pieces = (params.outputs + 3u) / 4u;
  let first = (team % pieces) * 4u;
  // Places of a row that this team computes: all, or one.
  let places = select(params.top_k, 1u, WEIGHTED == 1u);
  let place = team / pieces;
  // Teams beyond the end repeat the last row and write nothing: they must reach the barriers.
  let row = min(place / places, params.rows - 1u);
  let writes = place / places < params.rows;
  let outputs = vec4<u32>(first, first + 1u, first + 2u, first + 3u);

  var total = vec4<f32>();
  for (var n = 0u; n < select(1u, params.top_k, WEIGHTED == 1u); n += 1u) {
    let j = select(place % places, n, WEIGHTED == 1u);
    let number = arena[params.experts_offset + row * params.experts_stride + j];
    let known = number >= 0.0 && number < f32(params.n_expert);
    let expert = select(0u, u32(max(number, 0.0)), known);
    let all_rows = expert * params.outputs + outputs;
    // Rows of another part, or of none, are computed as some row of this one and count for nothing.
    let here = vec4<bool>(known) & (outputs < vec4<u32>(params.outputs)) &
      (all_rows >= vec4<u32>(params.first_row)) &
      (all_rows < vec4<u32>(params.first_row + params.part_rows));
    let rows = select(vec4<u32>(0u), all_rows - vec4<u32>(params.first_row), here);
    let x = params.x_offset + row * params.x_stride + j * params.x_step;
    var products = team_sums(lane_sums(rows, x, lane), thread);
    if (params.has_bias == 1u) {
      let at = select(vec4<u32>(0u), all_rows, here);
      products += vec4<f32>(bias[at.x], bias[at.y], bias[at.z], bias[at.w]);
    }
    products = select(vec4<f32>(), products, here);
    if (WEIGHTED == 1u) {
      total += arena[params.weights_offset + row * params.weights_stride + j] * products;
    } else {
      total = products;
    }
  }
  if (!writes) {
    return;
  }
  for (var r = lane; r < 4u; r += TEAM) {
    if (outputs[r] < params.outputs) {
      let column = outputs[r] + select((place % places) * params.outputs, 0u, WEIGHTED == 1u);
      let at = params.y_offset + row * params.y_stride + column;
      var sum = total[r];
      if (params.first_row > 0u) {
        // What the parts before this one came to.
        sum += arena[at];
      } else if (params.has_residual == 1u) {
        sum += arena[params.residual_offset + row * params.residual_stride + outputs[r]];
      }
      arena[at] = sum;
    }
  }
}
