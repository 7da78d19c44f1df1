// route: scores → weights → the best experts of the best groups.
// Source:   Shazeer et al. 2017 (arXiv:1701.06538) §2.1; groups and bias DeepSeek-V3 (arXiv:2412.19437) eq. 12–16.
// Grid:     a workgroup a row; its lanes stride over the experts, and choose one expert after the other together.
// Numerics: f32; sums of lanes in a fixed order. Of equal values the lower number wins.
const LANES = 64u;
// Numbers of the scorings, as route.webgpu.ts has them.
const SOFTMAX = 0u;
const SIGMOID = 1u;
const SOFTMAX_OF_CHOSEN = 2u;
const NONE = 0xffffffffu;

override EXPERTS: u32;
override GROUPS: u32;
override TOP_K: u32;
override SCORING: u32;

struct Params {
  rows: u32,
  scores_offset: u32,
  scores_stride: u32,
  experts_offset: u32,
  experts_stride: u32,
  weights_offset: u32,
  weights_stride: u32,
  top_groups: u32,
  has_bias: u32,
  normalise: u32,
  scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;  // scores: (rows, EXPERTS); experts, weights: (rows, TOP_K)
@group(0) @binding(2) var<storage, read> bias: array<f32>;         // (EXPERTS)

var<workgroup> values: array<f32, EXPERTS>;
var<workgroup> choice: array<f32, EXPERTS>;
var<workgroup> open: array<u32, EXPERTS>;  // 1: may be chosen
var<workgroup> group_sums: array<f32, GROUPS>;
var<workgroup> chosen: array<u32, TOP_K>;
var<workgroup> lane_value: array<f32, LANES>;
var<workgroup> lane_place: array<u32, LANES>;

// Σ over the lanes, or their maximum, in every lane.
fn over_lanes(value: f32, maximum: bool, lane: u32) -> f32 {
  lane_value[lane] = value;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      let other = lane_value[lane + half];
      lane_value[lane] = select(lane_value[lane] + other, max(lane_value[lane], other), maximum);
    }
  }
  workgroupBarrier();
  let result = lane_value[0];
  workgroupBarrier();
  return result;
}

// The softmax of `values` in place: all lanes must call.
fn softmax_values(lane: u32) {
  var most = values[0];
  for (var i = lane; i < EXPERTS; i += LANES) {
    most = max(most, values[i]);
  }
  most = over_lanes(most, true, lane);
  var sum = 0.0;
  for (var i = lane; i < EXPERTS; i += LANES) {
    values[i] = exp(values[i] - most);
    sum += values[i];
  }
  sum = over_lanes(sum, false, lane);
  for (var i = lane; i < EXPERTS; i += LANES) {
    values[i] /= sum;
  }
}

// One lane alone: the sum of a group's two largest.
fn two_best(group: u32) -> f32 {
  let size = EXPERTS / GROUPS;
  var best = NONE;
  var second = NONE;
  for (var i = group * size; i < (group + 1u) * size; i += 1u) {
    if (best == NONE || choice[i] > choice[best]) {
      second = best;
      best = i;
    } else if (second == NONE || choice[i] > choice[second]) {
      second = i;
    }
  }
  if (second == NONE) {
    return choice[best];
  }
  return choice[best] + choice[second];
}

// Lane 0 opens the groups with the largest sums.
fn open_groups() {
  let size = EXPERTS / GROUPS;
  for (var n = 0u; n < params.top_groups; n += 1u) {
    var best = NONE;
    for (var group = 0u; group < GROUPS; group += 1u) {
      if (open[group * size] == 0u && (best == NONE || group_sums[group] > group_sums[best])) {
        best = group;
      }
    }
    for (var i = best * size; i < (best + 1u) * size; i += 1u) {
      open[i] = 1u;
    }
  }
}

fn is_better(value: f32, place: u32, than: u32) -> bool {
  if (place == NONE || lane_place[than] == NONE) {
    return place != NONE;
  }
  return value > lane_value[than] || (value == lane_value[than] && place < lane_place[than]);
}

// The open expert with the largest choice, in every lane; it is closed.
fn take_best(lane: u32) -> u32 {
  var best = NONE;
  for (var i = lane; i < EXPERTS; i += LANES) {
    if (open[i] == 1u && (best == NONE || choice[i] > choice[best])) {
      best = i;
    }
  }
  lane_place[lane] = best;
  lane_value[lane] = choice[min(best, EXPERTS - 1u)];
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half && is_better(lane_value[lane + half], lane_place[lane + half], lane)) {
      lane_value[lane] = lane_value[lane + half];
      lane_place[lane] = lane_place[lane + half];
    }
  }
  workgroupBarrier();
  let place = lane_place[0];
  if (lane == 0u) {
    open[place] = 0u;
  }
  workgroupBarrier();
  return place;
}

@compute @workgroup_size(LANES)
fn route(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  // Workgroups beyond the end repeat the last row: they must reach the barriers.
  let row = min(workgroup_index(workgroup, grid), params.rows - 1u);
  for (var i = lane; i < EXPERTS; i += LANES) {
    let score = arena[params.scores_offset + row * params.scores_stride + i];
    values[i] = select(score, 1.0 / (1.0 + exp(-score)), SCORING == SIGMOID);
    open[i] = select(0u, 1u, GROUPS == params.top_groups);
  }
  workgroupBarrier();
  if (SCORING == SOFTMAX) {
    softmax_values(lane);
  }
  for (var i = lane; i < EXPERTS; i += LANES) {
    choice[i] = values[i];
    if (params.has_bias == 1u) {
      choice[i] += bias[i];
    }
  }
  workgroupBarrier();
  if (GROUPS != params.top_groups) {
    for (var group = lane; group < GROUPS; group += LANES) {
      group_sums[group] = two_best(group);
    }
    workgroupBarrier();
    if (lane == 0u) {
      open_groups();
    }
    workgroupBarrier();
  }
  for (var place = 0u; place < TOP_K; place += 1u) {
    let best = take_best(lane);
    if (lane == 0u) {
      chosen[place] = best;
    }
  }
  if (lane != 0u) {
    return;
  }
  var most = values[chosen[0]];
  var sum = 0.0;
  for (var place = 0u; place < TOP_K; place += 1u) {
    most = max(most, values[chosen[place]]);
  }
  for (var place = 0u; place < TOP_K; place += 1u) {
    let expert = chosen[place];
    if (SCORING == SOFTMAX_OF_CHOSEN) {
      values[expert] = exp(values[expert] - most);
    }
    sum += values[expert];
  }
  var divisor = select(1.0, sum, SCORING == SOFTMAX_OF_CHOSEN);
  if (params.normalise == 1u) {
    // The weights' own sum, where they are probabilities already: 1.
    divisor = divisor * (sum / divisor + 1e-20);
  }
  for (var place = 0u; place < TOP_K; place += 1u) {
    arena[params.experts_offset + row * params.experts_stride + place] = f32(chosen[place]);
    arena[params.weights_offset + row * params.weights_stride + place] = values[chosen[place]] / divisor * params.scale;
  }
}
