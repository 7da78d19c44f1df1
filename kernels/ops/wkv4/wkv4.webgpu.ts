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
import source from "./wkv4.wgsl?raw";

const shader: Shader = { name: "wkv4", parts: [grid, elementwise, source] };

/** A thread a channel of a sequence; see wkv4.wgsl. */
export function describeWkv4(operands: Operands, context: DispatchContext): Dispatch[] {
  const k = tensorOf(operands, "k");
  const v = tensorOf(operands, "v");
  const state = tensorOf(operands, "state");
  const y = tensorOf(operands, "y");
  const length = numberOf(operands, "length");
  const batch = k.rows / length;
  return [
    {
      shader,
      entryPoint: "wkv4",
      constants: { CHANNELS: k.cols },
      params: [
        batch,
        length,
        context.place(k),
        k.stride,
        context.place(v),
        v.stride,
        context.target(y),
        y.stride,
        state.offset,
        state.stride,
      ],
      reads: [
        { kind: "vector", weight: weightOf(operands, "decay") },
        { kind: "vector", weight: weightOf(operands, "bonus") },
      ],
      state,
      workgroups: elementwiseGrid(batch, k.cols),
    },
  ];
}
