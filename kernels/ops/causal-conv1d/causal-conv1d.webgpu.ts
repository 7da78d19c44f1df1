import {
  flagOf,
  fold,
  numberOf,
  optionalWeightOf,
  tensorOf,
  weightOf,
  type Dispatch,
  type DispatchContext,
  type Shader,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import softplus from "../../wgsl/softplus.wgsl?raw";
import type { Operands } from "../../spec/op.ts";
import source from "./causal-conv1d.wgsl?raw";

const shader: Shader = { name: "causal-conv1d", parts: [grid, softplus, source] };

/** The convolution, then (T > 1) the new state; see causal-conv1d.wgsl. */
export function describeCausalConv1d(operands: Operands, context: DispatchContext): Dispatch[] {
  const x = tensorOf(operands, "x");
  const y = tensorOf(operands, "y");
  const state = tensorOf(operands, "state");
  const weight = weightOf(operands, "weight");
  const bias = optionalWeightOf(operands, "bias");
  const length = numberOf(operands, "length");
  const batch = x.rows / length;
  const pieces = Math.ceil(x.cols / 64);
  const convolution: Dispatch = {
    shader,
    entryPoint: "causal_conv1d",
    constants: {
      CHANNELS: x.cols,
      D_CONV: weight.cols,
      HAS_BIAS: bias === null ? 0 : 1,
      SILU: flagOf(operands, "silu"),
    },
    params: [
      batch,
      length,
      context.place(x),
      x.stride,
      context.target(y),
      y.stride,
      state.offset,
      state.stride,
    ],
    reads: [
      { kind: "vector", weight },
      { kind: "vector", weight: bias },
    ],
    state,
    workgroups: fold(x.rows * pieces),
  };
  if (length === 1) return [convolution];
  return [
    convolution,
    { ...convolution, entryPoint: "causal_conv1d_state", workgroups: fold(batch * pieces) },
  ];
}
