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
import tile from "../../wgsl/tile.wgsl?raw";
import unpack from "../../wgsl/unpack.wgsl?raw";
import source from "./expert-linear.wgsl?raw";
import listsSource from "./expert-lists.wgsl?raw";
import sumSource from "./expert-sum.wgsl?raw";
import tiledSource from "./expert-tiled.wgsl?raw";

/** Teams of a workgroup. */
const TEAMS = 4;
/** Outputs that a team computes. */
const OUTPUTS = 4;

/** From so many places for each expert on, the tiled product is used. */
const TILED_FROM_PLACES = 16;
/** Side of a tile, as in tile.wgsl. */
const TILE = 64;
/** Threads of a workgroup of expert-sum.wgsl. */
const SUM_LANES = 64;
/** What fits into the 16 KiB of workgroup memory that every device has. */
const MOST_EXPERTS = 1024;

/** expert-linear.wgsl for few tokens an expert; for many expert-lists.wgsl, expert-tiled.wgsl and expert-sum.wgsl. */
export function describeExpertLinear(operands: Operands, context: DispatchContext): Dispatch[] {
  const { rows, cols } = tensorOf(operands, "experts");
  const nExpert = numberOf(operands, "nExpert");
  return rows * cols >= TILED_FROM_PLACES * nExpert && nExpert <= MOST_EXPERTS
    ? manyPlaces(operands, context)
    : fewPlaces(operands, context);
}

/** One dispatch a part of the weight. */
function fewPlaces(operands: Operands, context: DispatchContext): Dispatch[] {
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

/** The lists of each expert, the products a part of the weight, and their sums where they are weighted. */
function manyPlaces(operands: Operands, context: DispatchContext): Dispatch[] {
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
  const places = x.rows * topK;
  // Each expert, and what is no expert, may have one tile that is not full.
  const maxTiles = Math.ceil(places / TILE) + nExpert + 1;
  const list = context.scratch(places);
  const tiles = context.scratch(3 * maxTiles);
  const products = weights === null ? context.target(y) : context.scratch(places * outputs);

  const lists: Dispatch = {
    shader: { name: "expert-lists", parts: [listsSource] },
    entryPoint: "expert_lists",
    constants: { EXPERTS: nExpert },
    params: [places, topK, context.place(experts), experts.stride, list, tiles, maxTiles],
    reads: [],
    state: null,
    workgroups: [1, 1, 1],
  };
  const tiled = context.parts(weight).map((part, index): Dispatch => ({
    shader: { name: "expert-tiled", parts: [grid, unpack, tile, tiledSource] },
    entryPoint: "expert_tiled",
    constants: { DTYPE: dtypeCodes[weight.dtype] },
    params: [
      topK,
      nExpert,
      outputs,
      maxTiles,
      context.place(x),
      x.stride,
      x.cols === weight.cols ? 0 : weight.cols,
      products,
      weights === null ? y.stride : topK * outputs,
      list,
      tiles,
      part.firstRow,
      part.rows,
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
    workgroups: fold(maxTiles * Math.ceil(outputs / TILE)),
  }));
  if (weights === null) return [lists, ...tiled];
  const sum: Dispatch = {
    shader: { name: "expert-sum", parts: [grid, sumSource] },
    entryPoint: "expert_sum",
    constants: {},
    params: [
      x.rows,
      outputs,
      topK,
      products,
      context.place(weights),
      weights.stride,
      residual === null ? 0 : context.place(residual),
      residual === null ? 0 : residual.stride,
      residual === null ? 0 : 1,
      context.target(y),
      y.stride,
    ],
    reads: [],
    state: null,
    workgroups: fold(Math.ceil((x.rows * outputs) / SUM_LANES)),
  };
  return [lists, ...tiled, sum];
}
