import { ACTIVATION_CODES } from "../../spec/activations.ts";
import { packedRowBytes, WEIGHT_BLOCKS } from "../../spec/dtype.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
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
import { fewMatrixProduct, LANES, TILE_K } from "./few-matrix.ts";
import finish from "./finish.wgsl?raw";
import finishConv from "./finish-conv.wgsl?raw";
import type { FusedLinearOperands } from "./fused-linear.ts";
import { describeHalves } from "./halves.webgpu.ts";

/** Rows of x that a matrix of sums has, and that one workgroup computes. */
const MOST_ROWS = 16;
/** With fewer, the products of linear.wgsl are as quick, and exact to f32. */
const FEWEST_ROWS = 5;
/** Weights from which on x is one f16 a value, as in prompts (linear-matrix.webgpu.ts): the file has rounded W as coarsely. */
const LARGE_MATRIX = 2 ** 23;

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

/** What stands before the product, as f16 (few-halves.wgsl), then the product for each part of W (few-matrix.wgsl). */
export function describeFewRowsOnMatrices(
  o: FusedLinearOperands,
  context: DispatchContext,
): Dispatch[] {
  const { x, weight, bias, residual, y, conv, convWeight, convState } = o;
  const { values } = WEIGHT_BLOCKS[weight.dtype];
  const parts = values === 1 && weight.rows * weight.cols < LARGE_MATRIX ? 2 : 1;
  const words = Math.ceil(weight.cols / 2);
  const halves = context.scratch(parts * x.rows * words);
  const scalesOfX = context.scratch(x.rows);
  const place = (tensor: Tensor | null): readonly [number, number] =>
    tensor === null ? [0, 0] : [context.place(tensor), tensor.stride];
  const residualPlace = place(residual);
  const round = describeHalves(
    o,
    { parts, subgroupSize: LANES, words, halves, scales: scalesOfX },
    context,
  );
  const wordValues = valuesInVector(weight.dtype) / 4;
  const whole = weight.cols % TILE_K === 0;
  const matrixK = context.subgroupMatrix?.k ?? 16;
  const products = context.parts(weight).map((part, index): Dispatch => {
    // Two tiles and x in two parts would not fit into workgroup memory together.
    const across = parts === 1 ? 2 : 1;
    return {
      shader: {
        name: `few-matrix${conv === null ? "" : " with a convolution"}`,
        parts: [
          grid,
          unpack,
          softplus,
          activate,
          conv === null ? finish : finishConv,
          matrixSource,
          fewMatrixProduct({ parts, across, wordValues, matrixK, whole }),
        ],
        consts: {
          PARTS: parts,
          SUBGROUP: LANES,
          ACROSS: across,
          MATRIX_K: matrixK,
          // Tells modules apart, too: their text depends on it.
          WORD_VALUES: wordValues,
          WHOLE: whole ? 1 : 0,
        },
        subgroups: true,
        f16: true,
        subgroupMatrix: true,
      },
      entryPoint: "linear_few_matrix",
      constants: {
        DTYPE: dtypeCodes[weight.dtype],
        ACT: ACTIVATION_CODES[o.act],
        ...(convWeight !== null && {
          D_CONV: convWeight.cols,
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
        rowWords(weight.dtype, weight.cols),
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
      ],
      reads: [
        { kind: "values", weight, part: index },
        { kind: "scales", weight, part: index },
        { kind: "vector", weight: bias },
        // finish-conv.wgsl has its own at 6 and 7.
        ...(convWeight === null
          ? []
          : [
              { kind: "vector" as const, weight: null },
              { kind: "vector" as const, weight: convWeight },
              { kind: "vector" as const, weight: o.convBias },
            ]),
      ],
      state: convState,
      workgroups: fold(Math.ceil(part.rows / (16 * across))),
      cost: {
        bytes:
          part.rows * packedRowBytes(weight.dtype, weight.cols) +
          4 * x.rows * (weight.cols + part.rows),
        flop: 2 * x.rows * part.rows * weight.cols,
      },
    };
  });
  return [round, ...products];
}
