// The functions of reduce.wgsl on a device with subgroups of exactly TEAM lanes: a team is a subgroup.
override TEAM: u32 = 32u;  // the device's subgroup size
override TEAMS: u32 = 4u;

var<workgroup> group_partial: array<f32, TEAMS>;

// Four sums over the team, in every lane of it.
fn team_sums(values: vec4<f32>, thread: u32) -> vec4<f32> {
  return subgroupAdd(values);
}

// The sum over the team, in every lane of it.
fn team_sum(value: f32, thread: u32) -> f32 {
  return subgroupAdd(value);
}

// Σ over the workgroup, in every thread.
fn group_sum(value: f32, thread: u32) -> f32 {
  let sum = subgroupAdd(value);
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
