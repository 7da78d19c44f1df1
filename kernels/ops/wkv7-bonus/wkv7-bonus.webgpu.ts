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
import source from "./wkv7-bonus.wgsl?raw";

const shader: Shader = { name: "wkv7-bonus", parts: [grid, elementwise, source] };

/** A thread a value channel of a row; see wkv7-bonus.wgsl. */
export function describeWkv7Bonus(operands: Operands, context: DispatchContext): Dispatch[] {
  const [x, r, k, v, g] = ["x", "r", "k", "v", "g"].map((name) => tensorOf(operands, name));
  const y = tensorOf(operands, "y");
  const nHead = numberOf(operands, "nHead");
  return [
    {
      shader,
      entryPoint: "wkv7_bonus",
      constants: { KEY_DIM: r.cols / nHead, VALUE_DIM: x.cols / nHead, VALUES: x.cols },
      params: [
        x.rows,
        ...[x, r, k, v, g].flatMap((each) => [context.place(each), each.stride]),
        context.target(y),
        y.stride,
      ],
      reads: [{ kind: "vector", weight: weightOf(operands, "weight") }],
      state: null,
      workgroups: elementwiseGrid(x.rows, x.cols),
    },
  ];
}
