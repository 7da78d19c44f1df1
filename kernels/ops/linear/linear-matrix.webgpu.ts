import { packedRowBytes, WEIGHT_BLOCKS } from "../../spec/dtype.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import arenaScalars from "../../wgsl/arena-scalars.wgsl?raw";
import arenaVectors from "../../wgsl/arena-vectors.wgsl?raw";
import {
  fold,
  type Dispatch,
  type DispatchContext,
  type SubgroupMatrixShape,
  type WeightPart,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import { dtypeCodes, rowWords, scaleWords } from "../../wgsl/packed.ts";
import unpack from "../../wgsl/unpack.wgsl?raw";
import matrixSource from "./linear-matrix.wgsl?raw";
import splitsSource from "./linear-splits.wgsl?raw";
import { describeHalves } from "./halves.webgpu.ts";
import type { Prologue } from "./fused-linear.ts";
import { matrixProduct, tileSize, type TileShape } from "./matrix-product.ts";

/** From so many rows of x on, a product is a prompt's: a 64-row tile wastes less than it saves. */
export const TILED_FROM_ROWS = 24;

/** Weights from which on a matrix is large: the projections of models of 130m, but not what makes dt, B and C of Mamba-1. */
export const LARGE_MATRIX = 2 ** 20;

// Measured on an H100 (docs/decisions/0022). 128 × 128 reads W and x least; 64 × 64 is for what would leave most of a GPU idle
// otherwise, and for x in two parts, whose tiles need more workgroup memory.
const LARGE: TileShape = { gridRows: 2, gridCols: 4, down: 4, across: 2, columns: 64 };
const SMALL: TileShape = { gridRows: 2, gridCols: 2, down: 2, across: 2, columns: 64 };
/** Tiles from which on they are large. */
const ENOUGH_LARGE_TILES = 72;
/** So many workgroups keep a large GPU busy; with fewer, each takes fewer columns. */
const ENOUGH_WORKGROUPS = 132;
/** Columns that a split has at least, as the sum of the splits is one dispatch more. */
const LEAST_COLUMNS = 1024;

/** The operands of one product, and what stands before it. */
export interface ProductOperands extends Prologue {
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
export function matrixUnitFor(
  weight: Weight,
  { subgroupMatrix, subgroupSize }: Pick<DispatchContext, "subgroupMatrix" | "subgroupSize">,
): MatrixUnit | null {
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
export function partsOf(weight: Weight): number {
  return WEIGHT_BLOCKS[weight.dtype].values === 1 && !isLarge(weight) ? 2 : 1;
}

/** Whether products of many rows with the weight round x to one f16 a value, and the weight too where it has more. */
export function roundsToF16(
  weight: Weight,
  device: Pick<DispatchContext, "subgroupMatrix" | "subgroupSize">,
): boolean {
  return matrixUnitFor(weight, device) !== null && partsOf(weight) === 1;
}

/** x as f16 with what stands before it (few-halves.wgsl), then a product for each part of W (linear-matrix.wgsl), and the sum of its splits. */
export function describeMatrixProduct(
  operands: ProductOperands,
  { shape, subgroupSize }: MatrixUnit,
  context: DispatchContext,
): Dispatch[] {
  const { x, weight } = operands;
  const parts = partsOf(weight);
  const halfWords = (Math.ceil(weight.cols / SMALL.columns) * SMALL.columns) / 2;
  const halves = context.scratch(parts * x.rows * halfWords);
  const scales = context.scratch(x.rows);
  const round = describeHalves(
    operands,
    { parts, subgroupSize, words: halfWords, halves, scales },
    context,
  );
  const isHalves = weight.dtype === "f16";
  const products = context.parts(weight).flatMap((part, index): Dispatch[] => {
    const { tile, tiles, splits, splitColumns } = divide(x.rows, part.rows, weight.cols, parts);
    const sumsStride = Math.ceil(part.rows / 4) * 4;
    const sums = splits === 1 ? 0 : context.scratch(splits * x.rows * sumsStride);
    const target = targetOf(operands, part, context);
    const to =
      splits === 1
        ? target
        : { inVectors: true, places: [sums, sumsStride, 0, 0], firstRow: 0, adds: [0, 0] };
    const product: Dispatch = {
      shader: {
        name: `linear-matrix ${to.inVectors ? "vectors" : "scalars"}${isHalves ? " halves" : ""}`,
        parts: [
          grid,
          unpack,
          to.inVectors ? arenaVectors : arenaScalars,
          matrixSource,
          matrixProduct(tile, shape, subgroupSize, { parts, halves: isHalves }),
        ],
        consts: {
          PARTS: parts,
          SUBGROUP: subgroupSize,
          TILE_ROWS: tileSize(tile).rows,
          MATRIX_M: shape.m,
          MATRIX_N: shape.n,
          MATRIX_K: shape.k,
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
        halfWords,
        scales,
        ...to.places,
        to.firstRow,
        part.rows,
        weight.cols,
        splits,
        splitColumns,
        rowWords(weight.dtype, weight.cols) / 4,
        scaleWords(weight.dtype, weight.cols),
        ...to.adds,
      ],
      reads: [
        { kind: "values", weight, part: index },
        { kind: "scales", weight, part: index },
        { kind: "vector", weight: operands.bias },
      ],
      state: null,
      workgroups: fold(tiles * splits),
      cost: {
        bytes:
          part.rows * packedRowBytes(weight.dtype, weight.cols) +
          x.rows * (2 * parts * weight.cols + 4 * splits * part.rows),
        flop: 2 * x.rows * part.rows * weight.cols,
      },
    };
    if (splits === 1) return [product];
    const sum: Dispatch = {
      shader: {
        name: `linear-splits ${target.inVectors ? "vectors" : "scalars"}`,
        parts: [grid, target.inVectors ? arenaVectors : arenaScalars, splitsSource],
      },
      entryPoint: "linear_splits",
      constants: {},
      params: [
        x.rows,
        part.rows,
        part.firstRow,
        splits,
        sums,
        sumsStride,
        ...target.places,
        ...target.adds,
      ],
      reads: [{ kind: "vector", weight: operands.bias }],
      state: null,
      workgroups: fold(Math.ceil((x.rows * (sumsStride / 4)) / 64)),
    };
    return [product, sum];
  });
  return [round, ...products];
}

/** How rows of x times rows of W are divided among workgroups: always the same for the same sizes. */
function divide(
  rows: number,
  partRows: number,
  columns: number,
  parts: number,
): {
  readonly tile: TileShape;
  readonly tiles: number;
  readonly splits: number;
  readonly splitColumns: number;
} {
  const tilesOf = (tile: TileShape): number =>
    Math.ceil(rows / tileSize(tile).rows) * Math.ceil(partRows / tileSize(tile).cols);
  const tile = parts === 1 && tilesOf(LARGE) >= ENOUGH_LARGE_TILES ? LARGE : SMALL;
  const tiles = tilesOf(tile);
  const wanted = Math.min(
    Math.floor(ENOUGH_WORKGROUPS / tiles),
    Math.floor(columns / LEAST_COLUMNS),
  );
  const splitColumns = Math.ceil(columns / Math.max(1, wanted) / SMALL.columns) * SMALL.columns;
  return { tile, tiles, splits: Math.ceil(columns / splitColumns), splitColumns };
}

/** Where a part's outputs go, and what is added to them. */
interface Target {
  /** Whether all lies on multiples of four values. */
  readonly inVectors: boolean;
  /** y's and the residual's offset and stride. */
  readonly places: readonly number[];
  /** Of y. */
  readonly firstRow: number;
  /** Whether there is a bias, a residual. */
  readonly adds: readonly number[];
}

function targetOf(
  { bias, residual, y }: ProductOperands,
  part: WeightPart,
  context: DispatchContext,
): Target {
  const places = [
    context.target(y),
    y.stride,
    residual === null ? 0 : context.place(residual),
    residual?.stride ?? 0,
  ];
  return {
    inVectors: [...places, part.firstRow, part.rows].every((at) => at % 4 === 0),
    places,
    firstRow: part.firstRow,
    adds: [bias === null ? 0 : 1, residual === null ? 0 : 1],
  };
}
