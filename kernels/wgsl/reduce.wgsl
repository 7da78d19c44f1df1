// Sums over lanes, in a fixed order: no atomics, the same bits every time.
// A workgroup of TEAM * TEAMS threads in one dimension; a team is TEAM neighbouring threads.
// Every thread of the workgroup must call (barriers); reduce-subgroups.wgsl has the same functions without them.
override TEAM: u32 = 32u;  // a power of two
override TEAMS: u32 = 4u;

var<workgroup> team_partial: array<vec4<f32>, TEAM * TEAMS>;
var<workgroup> group_partial: array<f32, TEAMS>;

// Four sums over the team, in every lane of it.
fn team_sums(values: vec4<f32>, thread: u32) -> vec4<f32> {
  let lane = thread % TEAM;
  team_partial[thread] = values;
  for (var half = TEAM / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      team_partial[thread] += team_partial[thread + half];
    }
  }
  workgroupBarrier();
  let sums = team_partial[thread - lane];
  workgroupBarrier();
  return sums;
}

// The sum over the team, in every lane of it.
fn team_sum(value: f32, thread: u32) -> f32 {
  return team_sums(vec4<f32>(value, 0.0, 0.0, 0.0), thread).x;
}

// Σ over the workgroup, in every thread.
fn group_sum(value: f32, thread: u32) -> f32 {
  let sum = team_sums(vec4<f32>(value, 0.0, 0.0, 0.0), thread).x;
  if (TEAMS == 1u) {
    return sum;
  }
  if (thread % TEAM == 0u) {
    group_partial[thread / TEAM] = sum;
  }
  workgroupBarrier();
  var total = 0.0;
  for (var team = 0u; team < TEAMS; team += 1u) {
    total += group_partial[team];
  }
  workgroupBarrier();
  return total;
}
