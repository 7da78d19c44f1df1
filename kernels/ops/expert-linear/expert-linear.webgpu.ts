import type { Operands } from "../../spec/op.ts";
import {
  fold,
  numberOf,
  optionalTensorOf,
  optionalWeightOf,
  tensorOf,
  weightOf,
  type Dispatch,
  type DispatchContext,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import { dtypeCodes, rowWords, scaleWords } from "../../wgsl/packed.ts";
import { reductionFor } from "../../wgsl/reduce.ts";
import unpack from "../../wgsl/unpack.wgsl?raw";
import source from "./expert-linear.wgsl?raw";

/** Teams of a workgroup. */
const TEAMS = 4;
/** Outputs that a team computes. */
const OUTPUTS = 4;

/** One dispatch a part of the weight; see expert-linear.wgsl. */
export function describeExpertLinear(operands: Operands, context: DispatchContext): Dispatch[] {
  const x = tensorOf(operands, "x");
  const weight = weightOf(operands, "weight");
  const bias = optionalWeightOf(operands, "bias");
  const nExpert = numberOf(operands, "nExpert");
  const experts = tensorOf(operands, "experts");
  const weights = optionalTensorOf(operands, "weights");
  const residual = optionalTensorOf(operands, "residual");
  const y = tensorOf(operands, "y");
  const topK = experts.cols;
  const outputs = weight.rows / nExpert;
  const places = weights === null ? x.rows * topK : x.rows;
  const reduction = reductionFor(context);
  return context.parts(weight).map((part, index) => ({
    shader: {
      name: "expert-linear",
      parts: [grid, unpack, reduction.part, source],
      subgroups: reduction.subgroups,
    },
    entryPoint: "expert_linear",
    constants: {
      DTYPE: dtypeCodes[weight.dtype],
      TEAM: reduction.team,
      TEAMS,
      WEIGHTED: weights === null ? 0 : 1,
    },
    params: [
      x.rows,
      context.place(x),
      x.stride,
      x.cols === weight.cols ? 0 : weight.cols,
      context.target(y),
      y.stride,
      context.place(experts),
      experts.stride,
      weights === null ? 0 : context.place(weights),
      weights === null ? 0 : weights.stride,
      residual === null ? 0 : context.place(residual),
      residual === null ? 0 : residual.stride,
      topK,
      nExpert,
      outputs,
      part.firstRow,
      part.rows,
      weight.cols,
      rowWords(weight.dtype, weight.cols) / 4,
      scaleWords(weight.dtype, weight.cols),
      bias === null ? 0 : 1,
      residual === null ? 0 : 1,
    ],
    reads: [
      { kind: "values", weight, part: index },
      { kind: "scales", weight, part: index },
      { kind: "vector", weight: bias },
    ],
    state: null,
    workgroups: fold(Math.ceil((places * Math.ceil(outputs / OUTPUTS)) / TEAMS)),
  }));
}
