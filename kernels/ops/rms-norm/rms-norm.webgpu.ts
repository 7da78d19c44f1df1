import type { Operands } from "../../spec/op.ts";
import {
  floatWord,
  fold,
  numberOf,
  optionalWeightOf,
  tensorOf,
  type Dispatch,
  type DispatchContext,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import { groupTeams, reductionFor } from "../../wgsl/reduce.ts";
import source from "./rms-norm.wgsl?raw";

/** A workgroup a row and group; see rms-norm.wgsl. */
export function describeRmsNorm(operands: Operands, context: DispatchContext): Dispatch[] {
  const x = tensorOf(operands, "x");
  const y = tensorOf(operands, "y");
  const weight = optionalWeightOf(operands, "weight");
  const groupSize = numberOf(operands, "groupSize");
  const groups = x.cols / groupSize;
  const reduction = reductionFor(context);
  return [
    {
      shader: {
        name: "rms-norm",
        parts: [grid, reduction.part, source],
        subgroups: reduction.subgroups,
      },
      entryPoint: "rms_norm",
      constants: { TEAM: reduction.team, TEAMS: groupTeams(context, groupSize) },
      params: [
        x.rows,
        groups,
        groupSize,
        context.place(x),
        x.stride,
        context.target(y),
        y.stride,
        weight === null ? 0 : 1,
        weight === null || weight.cols === x.cols ? groupSize : 0,
        floatWord(operands["over"] === "mean" ? groupSize : 1),
        floatWord(numberOf(operands, "eps")),
      ],
      reads: [{ kind: "vector", weight }],
      state: null,
      workgroups: fold(x.rows * groups),
    },
  ];
}
