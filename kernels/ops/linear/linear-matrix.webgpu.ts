import { WEIGHT_BLOCKS } from "../../spec/dtype.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import arenaScalars from "../../wgsl/arena-scalars.wgsl?raw";
import arenaVectors from "../../wgsl/arena-vectors.wgsl?raw";
import {
  fold,
  type Dispatch,
  type DispatchContext,
  type SubgroupMatrixShape,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import { dtypeCodes, rowWords, scaleWords } from "../../wgsl/packed.ts";
import unpack from "../../wgsl/unpack.wgsl?raw";
import halvesSource from "./linear-halves.wgsl?raw";
import matrixSource from "./linear-matrix.wgsl?raw";
import { matrixProduct, TILE_K, type TileShape } from "./matrix-product.ts";

/** Weights from which on a matrix is large: the projections of models of 1.3b, but not what makes dt, B and C in them. */
const LARGE_MATRIX = 2 ** 23;
/** So many workgroups keep a large GPU busy; with fewer the tiles are made smaller. */
const ENOUGH_WORKGROUPS = 96;

// Measured on an H100 (docs/decisions/0013): x in two parts, or a large matrix, pays for a tile that reads W less often.
const LARGE: TileShape = { gridRows: 2, gridCols: 4, down: 4, across: 2 };
const SMALL: TileShape = { gridRows: 2, gridCols: 2, down: 2, across: 2 };

/** The operands of one product. */
export interface ProductOperands {
  readonly x: Tensor;
  readonly weight: Weight;
  readonly bias: Weight | null;
  readonly residual: Tensor | null;
  readonly y: Tensor;
}

/** The device's matrices and subgroup size, where products can go that way; else null. */
export interface MatrixUnit {
  readonly shape: SubgroupMatrixShape;
  readonly subgroupSize: number;
}

/**
 * Whether the product runs on the device's matrix units. Weights in f32 do not: they are what somebody chose who wants
 * f32 arithmetic.
 */
export function matrixUnitFor(weight: Weight, context: DispatchContext): MatrixUnit | null {
  const { subgroupMatrix, subgroupSize } = context;
  if (subgroupMatrix === null || subgroupSize === null || weight.dtype === "f32") return null;
  return { shape: subgroupMatrix, subgroupSize };
}

/** Whether a product is large enough that its time decides how long a prompt takes. */
function isLarge({ rows, cols }: Weight): boolean {
  return rows * cols >= LARGE_MATRIX;
}

/**
 * f16 values that stand for one of x. Two keep 22 bits: with weights that are f16 themselves, products are then as good as
 * in f32. One is enough where blocks of weights are rounded to f16 anyway, and is what a large matrix gets, whose weights
 * the file has rounded as coarsely (docs/decisions/0013).
 */
function partsOf(weight: Weight): number {
  return WEIGHT_BLOCKS[weight.dtype].values === 1 && !isLarge(weight) ? 2 : 1;
}

/** x as f16 (linear-halves.wgsl), then a product for each part of W (linear-matrix.wgsl). */
export function describeMatrixProduct(
  { x, weight, bias, residual, y }: ProductOperands,
  { shape, subgroupSize }: MatrixUnit,
  context: DispatchContext,
): Dispatch[] {
  const parts = partsOf(weight);
  const words = (Math.ceil(weight.cols / TILE_K) * TILE_K) / 2;
  const halves = context.scratch(parts * x.rows * words);
  const scales = context.scratch(x.rows);
  const [xAt, yAt] = [context.place(x), context.target(y)];
  const residualAt = residual === null ? 0 : context.place(residual);
  const partsOfW = context.parts(weight);
  const places = [yAt, y.stride, residualAt, residual?.stride ?? 0];
  const inVectors = [
    ...places,
    ...partsOfW.flatMap(({ firstRow, rows }) => [firstRow, rows]),
  ].every((at) => at % 4 === 0);
  const round: Dispatch = {
    shader: {
      name: "linear-halves",
      parts: [grid, halvesSource],
      consts: { PARTS: parts, SUBGROUP: subgroupSize },
      subgroups: true,
    },
    entryPoint: "linear_halves",
    constants: {},
    params: [weight.cols, xAt, x.stride, halves, scales, words, x.rows],
    reads: [],
    state: null,
    workgroups: fold(x.rows),
  };
  const products = partsOfW.map((part, index): Dispatch => {
    const tilesOf = ({ gridRows, gridCols, down, across }: TileShape): number =>
      Math.ceil(x.rows / (gridRows * down * shape.m)) *
      Math.ceil(part.rows / (gridCols * across * shape.n));
    const wide = (parts === 2 || isLarge(weight)) && tilesOf(LARGE) >= ENOUGH_WORKGROUPS;
    const tile = wide ? LARGE : SMALL;
    return {
      shader: {
        name: inVectors ? "linear-matrix vectors" : "linear-matrix scalars",
        parts: [
          grid,
          unpack,
          inVectors ? arenaVectors : arenaScalars,
          matrixSource,
          matrixProduct(tile, shape, subgroupSize, parts),
        ],
        consts: {
          PARTS: parts,
          SUBGROUP: subgroupSize,
          MATRIX_M: shape.m,
          MATRIX_N: shape.n,
          MATRIX_K: shape.k,
          GRID_ROWS: tile.gridRows,
          GRID_COLS: tile.gridCols,
          DOWN: tile.down,
          ACROSS: tile.across,
        },
        subgroups: true,
        f16: true,
        subgroupMatrix: true,
      },
      entryPoint: "linear_matrix",
      constants: { DTYPE: dtypeCodes[weight.dtype] },
      params: [
        x.rows,
        halves,
        scales,
        ...places,
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
      workgroups: fold(tilesOf(tile)),
    };
  });
  return [round, ...products];
}
