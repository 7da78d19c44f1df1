import { ACTIVATION_CODES } from "../../spec/activations.ts";
import { packedRowBytes, type WeightDType } from "../../spec/dtype.ts";
import type { Weight } from "../../spec/tensor.ts";
import activate from "../../wgsl/activate.wgsl?raw";
import {
  floatWord,
  fold,
  type Dispatch,
  type DispatchContext,
  type SubgroupMatrixShape,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import { dtypeCodes, rowWords, scaleWords, valuesInVector } from "../../wgsl/packed.ts";
import softplus from "../../wgsl/softplus.wgsl?raw";
import unpack from "../../wgsl/unpack.wgsl?raw";
import matrixSource from "./few-matrix.wgsl?raw";
import { finishFour } from "./few-finish.ts";
import { columnsOf, fewMatrixProduct, LANES, rowsOf, type FewMatrixTile } from "./few-matrix.ts";
import type { FusedLinearOperands } from "./fused-linear.ts";
import ready from "./few-ready.wgsl?raw";
import { describeHalves, prologueConstants } from "./halves.webgpu.ts";
import { partsOf } from "./linear-matrix.webgpu.ts";
import powerOfTwo from "../../wgsl/power-of-two.wgsl?raw";
import roundX from "./round-x.wgsl?raw";

/** Rows of x that a matrix of sums has, and that one workgroup computes. */
const MOST_ROWS = 16;
/** With fewer, the products of linear.wgsl are as quick, and exact to f32. */
const FEWEST_ROWS = 5;

/** What a device must tell for products of few rows on its matrix units. */
interface MatrixDevice {
  readonly subgroupMatrix: SubgroupMatrixShape | null;
  readonly subgroupSize: number | null;
}

/** Whether a product of so many rows runs on the device's matrix units; weights in f32 are for who wants f32 arithmetic. */
export function goesToMatrices(rows: number, { dtype }: Weight, device: MatrixDevice): boolean {
  const { subgroupMatrix, subgroupSize } = device;
  return (
    subgroupMatrix?.m === 16 &&
    subgroupMatrix.n === 16 &&
    subgroupSize === LANES &&
    dtype !== "f32" &&
    rows >= FEWEST_ROWS &&
    rows <= MOST_ROWS
  );
}

/** Words that hold eight values of W. */
type PackedWords = 1 | 2 | 4;

/** Their type, and how unpack.wgsl takes them: it looks for its own of four. */
const PACKED_WORDS: Readonly<Record<PackedWords, string>> = {
  1: "alias PackedWords = u32;\nfn as_vector(words: PackedWords) -> vec4<u32> { return vec4<u32>(words); }\n",
  2: "alias PackedWords = vec2<u32>;\nfn as_vector(words: PackedWords) -> vec4<u32> { return words.xyxy; }\n",
  4: "alias PackedWords = vec4<u32>;\nfn as_vector(words: PackedWords) -> vec4<u32> { return words; }\n",
};

function wordsOfEight(dtype: WeightDType): PackedWords {
  const values = valuesInVector(dtype);
  return values === 8 ? 4 : values === 16 ? 2 : 1;
}

// Measured on an H100 (docs/decisions/0021): with as few rows of W as a matrix takes there are the most workgroups, and x is
// read by each of them; with more, x is read less often.
const TILES = {
  /** For vocabularies. */
  many: { subgroups: 4, across: 4, columns: 32 },
  some: { subgroups: 4, across: 3, columns: 32 },
  few: { subgroups: 4, across: 1, columns: 64 },
  /** Where even so there are not enough: these have the longest way along a row. */
  fewest: { subgroups: 8, across: 1, columns: 64 },
} as const satisfies Record<string, FewMatrixTile>;

function tileFor(rows: number, parts: number): FewMatrixTile {
  const blocks = Math.ceil(rows / 16);
  if (parts === 2 || (blocks >= 128 && blocks < 512)) return TILES.few;
  if (blocks < 128) return TILES.fewest;
  return blocks < 1024 ? TILES.some : TILES.many;
}

/** Blocks of rows of W, and columns, up to which each workgroup makes x ready for itself. */
const READY = { blocks: 256, columns: 1536 };

/**
 * Where x lies, if that takes less time than a dispatch for it; else null. Not with a gate, whose exponentials each workgroup
 * would compute again. Columns and places must be whole vectors.
 */
function placeToReady(
  { x, z, weight }: FusedLinearOperands,
  context: DispatchContext,
): readonly [offset: number, stride: number] | null {
  const isSmall = weight.rows <= 16 * READY.blocks && weight.cols <= READY.columns;
  if (!isSmall || z !== null || weight.cols % 8 !== 0) return null;
  const place = [context.place(x), x.stride] as const;
  return place.every((at) => at % 4 === 0) ? place : null;
}

/** What stands before the product, as f16 (few-halves.wgsl) where the product does not do it, then the product for each part of W (few-matrix.wgsl). */
export function describeFewRowsOnMatrices(
  o: FusedLinearOperands,
  context: DispatchContext,
): Dispatch[] {
  const { x, weight, bias, residual, y, conv, convWeight, convState } = o;
  const parts = partsOf(weight);
  const readyPlace = placeToReady(o, context);
  const isReady = readyPlace !== null;
  const tile = tileFor(weight.rows, parts);
  const residualPlace = residual === null ? [0, 0] : [context.place(residual), residual.stride];
  const words = (Math.ceil(weight.cols / columnsOf(tile)) * columnsOf(tile)) / 2;
  const halves = isReady ? 0 : context.scratch(parts * x.rows * words);
  const scalesOfX = isReady ? 0 : context.scratch(x.rows);
  const round = { parts, subgroupSize: LANES, words, halves, scales: scalesOfX };
  const whole = weight.cols % columnsOf(tile) === 0;
  const matrixK = context.subgroupMatrix?.k ?? 16;
  const isHalves = weight.dtype === "f16";
  const packedWords = wordsOfEight(weight.dtype);
  const products = context.parts(weight).map((part, index): Dispatch => {
    return {
      shader: {
        name: `few-matrix${isHalves ? " halves" : ""}${conv === null ? "" : " with a convolution"}`,
        parts: [
          grid,
          unpack,
          softplus,
          activate,
          PACKED_WORDS[packedWords],
          matrixSource,
          finishFour(convWeight?.cols ?? null),
          ...(isReady ? [powerOfTwo, roundX, ready] : []),
          fewMatrixProduct({
            tile,
            parts,
            halves: isHalves,
            matrixK,
            whole,
            ready: isReady ? weight.cols : null,
          }),
        ],
        // All that the text depends on: modules are told apart by these.
        consts: {
          PARTS: parts,
          MATRIX_K: matrixK,
          SUBGROUPS: tile.subgroups,
          ACROSS: tile.across,
          COLUMNS: tile.columns,
          PACKED_WORDS: packedWords,
          WHOLE: whole ? 1 : 0,
          TAPS: convWeight?.cols ?? 0,
          READY: isReady ? weight.cols : 0,
        },
        subgroups: true,
        f16: true,
        subgroupMatrix: true,
      },
      entryPoint: "linear_few_matrix",
      constants: {
        DTYPE: dtypeCodes[weight.dtype],
        ACT: ACTIVATION_CODES[o.act],
        ...(isReady && prologueConstants(o)),
        ...(convWeight !== null && {
          CONV_BIAS: o.convBias === null ? 0 : 1,
          CONV_SILU: o.convSilu ? 1 : 0,
        }),
      },
      params: [
        x.rows,
        halves,
        scalesOfX,
        context.target(y),
        y.stride,
        ...residualPlace,
        part.firstRow,
        part.rows,
        weight.cols,
        rowWords(weight.dtype, weight.cols) / packedWords,
        words,
        scaleWords(weight.dtype, weight.cols),
        bias === null ? 0 : 1,
        residual === null ? 0 : 1,
        floatWord(o.scale),
        floatWord(o.gain),
        floatWord(o.residualScale),
        o.convFirst,
        convWeight?.rows ?? 0,
        conv === null ? 0 : context.target(conv),
        conv?.stride ?? 0,
        convState?.offset ?? 0,
        convState?.stride ?? 0,
        ...(readyPlace ?? [0, 0]),
        floatWord(o.over === "mean" ? weight.cols : 1),
        floatWord(o.eps),
      ],
      reads: [
        { kind: "values", weight, part: index },
        { kind: "scales", weight, part: index },
        { kind: "vector", weight: bias },
        { kind: "vector", weight: isReady ? o.normWeight : null },
        ...(convWeight === null
          ? []
          : [
              { kind: "vector" as const, weight: convWeight },
              { kind: "vector" as const, weight: o.convBias },
            ]),
      ],
      state: convState,
      workgroups: fold(Math.ceil(part.rows / rowsOf(tile))),
      cost: {
        bytes:
          part.rows * packedRowBytes(weight.dtype, weight.cols) +
          4 * x.rows * (weight.cols + part.rows),
        flop: 2 * x.rows * part.rows * weight.cols,
      },
    };
  });
  return isReady ? products : [describeHalves(o, round, context), ...products];
}
