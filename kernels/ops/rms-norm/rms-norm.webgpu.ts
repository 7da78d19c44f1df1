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
import { reductionFor } from "../../wgsl/reduce.ts";
import type { Operands } from "../../spec/op.ts";
import source from "./rms-norm.wgsl?raw";

/** A workgroup a row; see rms-norm.wgsl. */
export function describeRmsNorm(operands: Operands, context: DispatchContext): Dispatch[] {
  const x = tensorOf(operands, "x");
  const y = tensorOf(operands, "y");
  const reduction = reductionFor(context);
  return [
    {
      shader: {
        name: "rms-norm",
        parts: [grid, reduction.part, source],
        subgroups: reduction.subgroups,
      },
      entryPoint: "rms_norm",
      // One row is all there is to do at decode: many lanes, or the row's latency shows.
      constants: { TEAM: reduction.team, TEAMS: context.software ? 1 : 8, D_MODEL: x.cols },
      params: [
        x.rows,
        context.place(x),
        x.stride,
        context.target(y),
        y.stride,
        floatWord(numberOf(operands, "eps")),
      ],
      reads: [{ kind: "vector", weight: weightOf(operands, "weight") }],
      state: null,
      workgroups: fold(x.rows),
    },
  ];
}
