import {
  fold,
  optionalTensorOf,
  optionalWeightOf,
  tensorOf,
  weightOf,
  type Dispatch,
  type DispatchContext,
  type Shader,
  type WeightPart,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import { dtypeCodes, rowWords, scaleWords, valuesInVector } from "../../wgsl/packed.ts";
import { reductionFor } from "../../wgsl/reduce.ts";
import tile from "../../wgsl/tile.wgsl?raw";
import unpack from "../../wgsl/unpack.wgsl?raw";
import type { Operands } from "../../spec/op.ts";
import type { Weight } from "../../spec/tensor.ts";
import { describeMatrixProduct, matrixUnitFor } from "./linear-matrix.webgpu.ts";
import source from "./linear.wgsl?raw";
import tiledSource from "./linear-tiled.wgsl?raw";

/** From so many rows of x on, the tiled product is used; a 64-row tile wastes less than it saves. */
const TILED_FROM_ROWS = 24;
/** Side of a tile, as in tile.wgsl. */
const TILE = 64;
/** Rows of W that a team of linear.wgsl computes. */
const TEAM_ROWS = 4;
const TEAMS = 4;

const tiled: Shader = { name: "linear-tiled", parts: [grid, unpack, tile, tiledSource] };

/**
 * One dispatch a part of W: linear.wgsl for few rows of x, linear-tiled.wgsl for many, or linear-matrix.wgsl on devices
 * with matrix units.
 */
export function describeLinear(operands: Operands, context: DispatchContext): Dispatch[] {
  const x = tensorOf(operands, "x");
  const weight = weightOf(operands, "weight");
  const bias = optionalWeightOf(operands, "bias");
  const residual = optionalTensorOf(operands, "residual");
  const y = tensorOf(operands, "y");
  const matrixUnit = x.rows < TILED_FROM_ROWS ? null : matrixUnitFor(weight, context);
  if (matrixUnit !== null) {
    return describeMatrixProduct({ x, weight, bias, residual, y }, matrixUnit, context);
  }
  const constants = {
    DTYPE: dtypeCodes[weight.dtype],
  };
  const how = x.rows >= TILED_FROM_ROWS ? manyRows(x.rows) : fewRows(x.rows, weight, context);
  return context.parts(weight).map((part, index) => ({
    shader: how.shader,
    entryPoint: how.entryPoint,
    constants: { ...constants, ...how.constants },
    params: [
      x.rows,
      context.place(x),
      x.stride,
      context.target(y),
      y.stride,
      residual === null ? 0 : context.place(residual),
      residual === null ? 0 : residual.stride,
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
    workgroups: how.workgroups(part),
  }));
}

interface LinearKernel {
  readonly shader: Shader;
  readonly entryPoint: string;
  readonly constants: Readonly<Record<string, number>>;
  workgroups(part: WeightPart): [number, number, number];
}

function fewRows(rows: number, weight: Weight, context: DispatchContext): LinearKernel {
  const reduction = reductionFor(context);
  const xRows = rows === 1 ? 1 : 4;
  return {
    shader: {
      name: "linear",
      parts: [grid, unpack, reduction.part, source],
      subgroups: reduction.subgroups,
    },
    entryPoint: "linear",
    constants: {
      TEAM: reduction.team,
      TEAMS,
      X_ROWS: xRows,
      WHOLE: weight.cols % valuesInVector(weight.dtype) === 0 ? 1 : 0,
    },
    workgroups: (part) =>
      fold(Math.ceil((Math.ceil(part.rows / TEAM_ROWS) * Math.ceil(rows / xRows)) / TEAMS)),
  };
}

function manyRows(rows: number): LinearKernel {
  return {
    shader: tiled,
    entryPoint: "linear_tiled",
    constants: {},
    workgroups: (part) => fold(Math.ceil(rows / TILE) * Math.ceil(part.rows / TILE)),
  };
}
