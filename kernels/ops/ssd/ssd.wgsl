// ssd for T = 1, the step of decode: h = exp(dt A) h + dt x ⊗ B; y = h C + D x; y · silu(z)
// Source:   Mamba-2 (arXiv:2405.21060) §6; memory bound: the state is read and written once.
// Grid:     a team of TEAM lanes a (b, channel) walks the channel's dState values side by side.
// Numerics: f32; lane sums, then the team's sum in a fixed order.
@compute @workgroup_size(TEAM * TEAMS)
fn ssd(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let team = workgroup_index(workgroup, grid) * TEAMS + thread / TEAM;
  let lane = thread % TEAM;
  let channels = params.heads * params.head_dim;
  let valid = team < params.batch * channels;
  // T = 1: row and sequence are the same. Beyond the last, a team reaches the barriers with nothing to do.
  let b = select(0u, team / channels, valid);
  let channel = team % channels;
  let head = channel / params.head_dim;
  let group = head * params.groups / params.heads;
  let dt = dt_at(b, head);
  let decay = exp(dt * A[head]);
  let dt_x = dt * x_at(b, channel);
  let B = params.b_offset + b * params.b_stride + group * params.d_state;
  let C = params.c_offset + b * params.c_stride + group * params.d_state;
  let h_at = params.state_offset + b * params.state_stride + channel * params.d_state;
  var sum = 0.0;
  if (valid) {
    for (var n = lane; n < params.d_state; n += TEAM) {
      let h = decay * state[h_at + n] + dt_x * arena[B + n];
      state[h_at + n] = h;
      sum += h * arena[C + n];
    }
  }
  let y = team_sums(vec4<f32>(sum, 0.0, 0.0, 0.0), thread).x;
  if (valid && lane == 0u) {
    write_y(b, head, channel, y);
  }
}
