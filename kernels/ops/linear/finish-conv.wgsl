// Rows conv_first … of W are channels that go through one step (T = 1) of causal_conv1d at once: the lane that has a
// channel's newest input is the only one that touches its state.
// Source: Mamba (arXiv:2312.00752) §3.4.
override D_CONV: u32;
override CONV_BIAS: u32;
override CONV_SILU: u32;

@group(0) @binding(6) var<storage, read> conv_weight: array<f32>;  // (channels, dConv), oldest tap first
@group(0) @binding(7) var<storage, read> conv_bias: array<f32>;    // (channels)
@group(1) @binding(0) var<storage, read_write> state: array<f32>;  // (B, channels, dConv - 1), oldest first

fn finish(x_row: u32, out: u32, value: f32) {
  // A row before the first wraps around to a large number.
  let c = out - params.conv_first;
  if (c >= params.conv_channels) {
    arena_put(params.y_offset + x_row * params.y_stride + out, value);
    return;
  }
  let at = params.conv_state_offset + x_row * params.conv_state_stride + c * (D_CONV - 1u);
  var sum = 0.0;
  if (CONV_BIAS == 1u) {
    sum = conv_bias[c];
  }
  for (var i = 0u; i < D_CONV - 1u; i += 1u) {
    let x = state[at + i];
    sum += conv_weight[c * D_CONV + i] * x;
    if (i > 0u) {
      state[at + i - 1u] = x;
    }
  }
  sum += conv_weight[c * D_CONV + D_CONV - 1u] * value;
  state[at + D_CONV - 2u] = value;
  if (CONV_SILU == 1u) {
    sum = silu(sum);
  }
  arena_put(params.conv_offset + x_row * params.conv_stride + c, sum);
}
