import activate from "../../wgsl/activate.wgsl?raw";
import {
  floatWord,
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
import softplus from "../../wgsl/softplus.wgsl?raw";
import type { Operands } from "../../spec/op.ts";
import source from "./wkv7-keys.wgsl?raw";

const shader: Shader = {
  name: "wkv7-keys",
  parts: [grid, elementwise, softplus, activate, source],
};

/** A thread a channel of a row; see wkv7-keys.wgsl. */
export function describeWkv7Keys(operands: Operands, context: DispatchContext): Dispatch[] {
  const k = tensorOf(operands, "k");
  const w = tensorOf(operands, "w");
  const a = tensorOf(operands, "a");
  const y = tensorOf(operands, "y");
  return [
    {
      shader,
      entryPoint: "wkv7_keys",
      constants: { HEAD_DIM: k.cols / numberOf(operands, "nHead"), CHANNELS: k.cols },
      params: [
        k.rows,
        ...[k, w, a].flatMap((x) => [context.place(x), x.stride]),
        context.target(y),
        y.stride,
        floatWord(numberOf(operands, "eps")),
      ],
      reads: [
        { kind: "vector", weight: weightOf(operands, "removal") },
        { kind: "vector", weight: weightOf(operands, "replacement") },
      ],
      state: null,
      workgroups: elementwiseGrid(k.rows, k.cols),
    },
  ];
}
