import {
  numberOf,
  tensorOf,
  weightOf,
  type Dispatch,
  type DispatchContext,
  type Shader,
} from "../../wgsl/dispatch.ts";
import { elementwiseGrid } from "../../wgsl/elementwise.ts";
import elementwise from "../../wgsl/elementwise.wgsl?raw";
import grid from "../../wgsl/grid.wgsl?raw";
import type { Operands } from "../../spec/op.ts";
import source from "./token-shift.wgsl?raw";

const shader: Shader = { name: "token-shift", parts: [grid, elementwise, source] };

/** A thread a channel of a token; see token-shift.wgsl. */
export function describeTokenShift(operands: Operands, context: DispatchContext): Dispatch[] {
  const x = tensorOf(operands, "x");
  const mix = weightOf(operands, "mix");
  const state = tensorOf(operands, "state");
  const y = tensorOf(operands, "y");
  return [
    {
      shader,
      entryPoint: "token_shift",
      constants: { CHANNELS: mix.cols, MIXTURES: mix.rows },
      params: [
        x.rows,
        numberOf(operands, "length"),
        context.place(x),
        x.stride,
        context.target(y),
        y.stride,
        state.offset,
        state.stride,
      ],
      reads: [{ kind: "vector", weight: mix }],
      state,
      workgroups: elementwiseGrid(x.rows, mix.cols),
    },
  ];
}
