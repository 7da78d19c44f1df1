import { range } from "../../wgsl/sheets.ts";

/**
 * WGSL of `finish_four`, what few-matrix.wgsl does with four outputs of a row: keeps them, or takes one step (T = 1) of
 * causal_conv1d with those that are its channels, whose thread is the only one that touches their state. All that is read is
 * asked for before the first value is written: a compiler has to take it that what is written may be what is read next.
 * Source: Mamba (arXiv:2312.00752) §3.4.
 * @param taps of the convolution, its dConv; null without one
 */
export function finishFour(taps: number | null): string {
  const keep = "arena_put(params.y_offset + row * params.y_stride + out + i, four[i]);";
  if (taps === null)
    return `
fn finish_four(row: u32, out: u32, four: vec4<f32>, count: u32) {
  for (var i = 0u; i < count; i += 1u) {
    ${keep}
  }
}
`;
  const places = range(4);
  const held = range(taps - 1);
  const at = (i: number, tap: number): string => `state[at${i} + ${tap}u]`;
  const all = (of: (i: number) => string): string => `vec4<f32>(${places.map(of).join(", ")})`;
  return `
override CONV_BIAS: u32;
override CONV_SILU: u32;

@group(0) @binding(6) var<storage, read> conv_weight: array<f32>;  // (channels, dConv), oldest tap first
@group(0) @binding(7) var<storage, read> conv_bias: array<f32>;    // (channels)
@group(1) @binding(0) var<storage, read_write> state: array<f32>;  // (B, channels, dConv - 1), oldest first

fn finish_four(row: u32, out: u32, four: vec4<f32>, count: u32) {
  // Rows before the first channel wrap around to large numbers. Of what is no channel the last one's state is read for nothing.
  let first = out - params.conv_first;
  let last = params.conv_channels - 1u;
  ${places.map((i) => `let c${i} = min(first + ${i}u, last); let at${i} = params.conv_state_offset + row * params.conv_state_stride + c${i} * ${taps - 1}u;`).join("\n  ")}
  ${held.map((tap) => `let x${tap} = ${all((i) => at(i, tap))};`).join("\n  ")}
  ${range(taps)
    .map((tap) => `let w${tap} = ${all((i) => `conv_weight[c${i} * ${taps}u + ${tap}u]`)};`)
    .join("\n  ")}
  var sum = vec4<f32>();
  if (CONV_BIAS == 1u) {
    sum = ${all((i) => `conv_bias[c${i}]`)};
  }
  ${held.map((tap) => `sum += w${tap} * x${tap};`).join("\n  ")}
  sum += w${taps - 1} * four;
  if (CONV_SILU == 1u) {
    sum = ${all((i) => `silu(sum[${i}])`)};
  }
  ${places
    .map(
      (i) => `if (${i}u < count) {
    if (first + ${i}u <= last) {
      ${held.map((tap) => `${at(i, tap)} = ${tap + 1 < taps - 1 ? `x${tap + 1}` : "four"}[${i}];`).join("\n      ")}
      arena_put(params.conv_offset + row * params.conv_stride + c${i}, sum[${i}]);
    } else {
      arena_put(params.y_offset + row * params.y_stride + out + ${i}u, four[${i}]);
    }
  }`,
    )
    .join("\n  ")}
}
`;
}
