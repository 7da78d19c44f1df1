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

/** Tokens that a thread takes one after the other: they share most of their inputs. */
const TOKENS = 8;

/** The convolution, and the new state; see causal-conv1d.wgsl. */
export function describeCausalConv1d(operands: Operands, context: DispatchContext): Dispatch[] {
  const x = tensorOf(operands, "x");
  const y = tensorOf(operands, "y");
  const state = tensorOf(operands, "state");
  const weight = weightOf(operands, "weight");
  const bias = optionalWeightOf(operands, "bias");
  const length = numberOf(operands, "length");
  const batch = x.rows / length;
  const tokens = Math.max(TOKENS, weight.cols - 1);
  const convolution: Dispatch = {
    shader,
    entryPoint: "causal_conv1d",
    constants: {
      CHANNELS: x.cols,
      D_CONV: weight.cols,
      HAS_BIAS: bias === null ? 0 : 1,
      SILU: flagOf(operands, "silu"),
      TOKENS: tokens,
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
    workgroups: fold(batch * Math.ceil(length / tokens) * Math.ceil(x.cols / 64)),
  };
  return [convolution];
}
