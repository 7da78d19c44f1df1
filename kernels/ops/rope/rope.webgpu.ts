import type { Operands } from "../../spec/op.ts";
import {
  floatWord,
  fold,
  numberOf,
  tensorOf,
  weightOf,
  type Dispatch,
  type DispatchContext,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import source from "./rope.wgsl?raw";

/** A thread a value; see rope.wgsl. */
export function describeRope(operands: Operands, context: DispatchContext): Dispatch[] {
  const x = tensorOf(operands, "x");
  const y = tensorOf(operands, "y");
  const frequencies = weightOf(operands, "frequencies");
  return [
    {
      shader: { name: "rope", parts: [grid, source] },
      entryPoint: "rope",
      constants: {
        COLS: x.cols,
        HEAD_DIM: numberOf(operands, "headDim"),
        FIRST: numberOf(operands, "offset"),
        HALF: frequencies.cols,
        NEIGHBOURS: operands["pairs"] === "neighbours" ? 1 : 0,
      },
      params: [
        x.rows,
        numberOf(operands, "length"),
        context.place(x),
        x.stride,
        context.target(y),
        y.stride,
        floatWord(numberOf(operands, "scale")),
        floatWord(Infinity),
      ],
      reads: [{ kind: "vector", weight: frequencies }, { kind: "positions" }],
      state: null,
      workgroups: fold(x.rows * Math.ceil(x.cols / 64)),
    },
  ];
}
