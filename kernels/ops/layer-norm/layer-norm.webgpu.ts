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
import source from "./layer-norm.wgsl?raw";

/** A workgroup a row and group; see layer-norm.wgsl. */
export function describeLayerNorm(operands: Operands, context: DispatchContext): Dispatch[] {
  const x = tensorOf(operands, "x");
  const y = tensorOf(operands, "y");
  const weight = optionalWeightOf(operands, "weight");
  const bias = optionalWeightOf(operands, "bias");
  const groupSize = numberOf(operands, "groupSize");
  const groups = x.cols / groupSize;
  const reduction = reductionFor(context);
  return [
    {
      shader: {
        name: "layer-norm",
        parts: [grid, reduction.part, source],
        subgroups: reduction.subgroups,
      },
      entryPoint: "layer_norm",
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
        bias === null ? 0 : 1,
        floatWord(numberOf(operands, "eps")),
      ],
      reads: [
        { kind: "vector", weight },
        { kind: "vector", weight: bias },
      ],
      state: null,
      workgroups: fold(x.rows * groups),
    },
  ];
}
