import {
  fold,
  optionalTensorOf,
  optionalWeightOf,
  tensorOf,
  weightOf,
  type Dispatch,
  type DispatchContext,
  type Shader,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import { dtypeCodes, rowWords, scaleWords } from "../../wgsl/packed.ts";
import tile from "../../wgsl/tile.wgsl?raw";
import unpack from "../../wgsl/unpack.wgsl?raw";
import type { Operands } from "../../spec/op.ts";
import { describeFewRows } from "./few-rows.webgpu.ts";
import { noPrologue } from "./fused-linear.ts";
import { describeMatrixProduct, matrixUnitFor, TILED_FROM_ROWS } from "./linear-matrix.webgpu.ts";
import tiledSource from "./linear-tiled.wgsl?raw";

/** Side of a tile, as in tile.wgsl. */
const TILE = 64;

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
  if (x.rows < TILED_FROM_ROWS) return describeFewRows({ x, weight, bias, residual, y }, context);
  const matrixUnit = matrixUnitFor(weight, context);
  if (matrixUnit !== null) {
    const operands = { x, weight, bias, residual, y, ...noPrologue };
    return describeMatrixProduct(operands, matrixUnit, context);
  }
  return context.parts(weight).map((part, index) => ({
    shader: tiled,
    entryPoint: "linear_tiled",
    constants: { DTYPE: dtypeCodes[weight.dtype] },
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
    workgroups: fold(Math.ceil(x.rows / TILE) * Math.ceil(part.rows / TILE)),
  }));
}
