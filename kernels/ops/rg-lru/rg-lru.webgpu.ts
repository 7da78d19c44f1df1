import type { Operands } from "../../spec/op.ts";
import {
  fold,
  numberOf,
  tensorOf,
  weightOf,
  type Dispatch,
  type DispatchContext,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import source from "./rg-lru.wgsl?raw";

/** One dispatch; see rg-lru.wgsl. */
export function describeRgLru(operands: Operands, context: DispatchContext): Dispatch[] {
  const x = tensorOf(operands, "x");
  const recurrenceGate = tensorOf(operands, "recurrenceGate");
  const inputGate = tensorOf(operands, "inputGate");
  const state = tensorOf(operands, "state");
  const y = tensorOf(operands, "y");
  const length = numberOf(operands, "length");
  const batch = x.rows / length;
  return [
    {
      shader: { name: "rg-lru", parts: [grid, source] },
      entryPoint: "rg_lru",
      constants: { WIDTH: x.cols },
      params: [
        batch,
        length,
        ...[x, recurrenceGate, inputGate].flatMap((read) => [context.place(read), read.stride]),
        context.target(y),
        y.stride,
        state.offset,
        state.stride,
      ],
      reads: [{ kind: "vector", weight: weightOf(operands, "logDecay") }, { kind: "positions" }],
      state,
      workgroups: fold(batch * Math.ceil(x.cols / 64)),
    },
  ];
}
