import type { Operands } from "../../spec/op.ts";
import {
  fold,
  numberOf,
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
import source from "./block-linear.wgsl?raw";

/** Teams of a workgroup. */
const TEAMS = 4;
/** Rows of x that a team multiplies. */
const X_ROWS = 4;

/** One dispatch a part of the weight; see block-linear.wgsl. */
export function describeBlockLinear(operands: Operands, context: DispatchContext): Dispatch[] {
  const x = tensorOf(operands, "x");
  const weight = weightOf(operands, "weight");
  const bias = optionalWeightOf(operands, "bias");
  const y = tensorOf(operands, "y");
  const reduction = reductionFor(context);
  return context.parts(weight).map((part, index) => ({
    shader: {
      name: "block-linear",
      parts: [grid, unpack, reduction.part, source],
      subgroups: reduction.subgroups,
    },
    entryPoint: "block_linear",
    constants: { DTYPE: dtypeCodes[weight.dtype], TEAM: reduction.team, TEAMS },
    params: [
      x.rows,
      context.place(x),
      x.stride,
      context.target(y),
      y.stride,
      part.firstRow,
      part.rows,
      weight.rows / numberOf(operands, "nBlock"),
      weight.cols,
      rowWords(weight.dtype, weight.cols) / 4,
      scaleWords(weight.dtype, weight.cols),
      bias === null ? 0 : 1,
    ],
    reads: [
      { kind: "values", weight, part: index },
      { kind: "scales", weight, part: index },
      { kind: "vector", weight: bias },
    ],
    state: null,
    workgroups: fold(Math.ceil((part.rows * Math.ceil(x.rows / X_ROWS)) / TEAMS)),
  }));
}
