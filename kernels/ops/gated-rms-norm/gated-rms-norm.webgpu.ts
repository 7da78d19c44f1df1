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
import softplus from "../../wgsl/softplus.wgsl?raw";
import type { Operands } from "../../spec/op.ts";
import source from "./gated-rms-norm.wgsl?raw";

/** A workgroup a row and group; see gated-rms-norm.wgsl. */
export function describeGatedRmsNorm(operands: Operands, context: DispatchContext): Dispatch[] {
  const x = tensorOf(operands, "x");
  const z = tensorOf(operands, "z");
  const y = tensorOf(operands, "y");
  const groupSize = numberOf(operands, "groupSize");
  const groups = x.cols / groupSize;
  const reduction = reductionFor(context);
  return [
    {
      shader: {
        name: "gated-rms-norm",
        parts: [grid, softplus, reduction.part, source],
        subgroups: reduction.subgroups,
      },
      entryPoint: "gated_rms_norm",
      constants: {
        TEAM: reduction.team,
        TEAMS: context.software ? 1 : 8,
        GROUP_SIZE: groupSize,
        GROUPS: groups,
      },
      params: [
        x.rows,
        context.place(x),
        x.stride,
        context.place(z),
        z.stride,
        context.target(y),
        y.stride,
        floatWord(numberOf(operands, "eps")),
      ],
      reads: [{ kind: "vector", weight: weightOf(operands, "weight") }],
      state: null,
      workgroups: fold(x.rows * groups),
    },
  ];
}
