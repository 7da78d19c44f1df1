import type { ExpertLinearOperands } from "../../ops/expert-linear/expert-linear.ts";
import type { RouteOperands } from "../../ops/route/route.ts";
import { WEIGHT_BLOCKS } from "../../spec/dtype.ts";
import type { Precision } from "../../spec/op.ts";
import {
  DTYPES,
  float,
  GROUP,
  integer,
  tensorWords,
  weightWord,
  type Part,
  type Word,
} from "./instructions.ts";

/** Numbers of the scorings, as route.wasm.ts has them. */
const SCORINGS = {
  softmax: 0,
  sigmoid: 1,
  "softmax-of-chosen": 2,
  raw: 3,
} as const satisfies Record<RouteOperands["scoring"], number>;

/** The words of route.wasm.ts, and room for a row's values. */
export function route(operands: RouteOperands): Part {
  const { scores, scoring, choiceBias, nGroup, topKGroup, topK, normalise, scale } = operands;
  const words = [
    ...[scores.rows, scores.cols, SCORINGS[scoring], nGroup, topKGroup, topK].map(integer),
    integer(Number(normalise)),
    float(scale),
    ...tensorWords(scores),
    weightWord(choiceBias),
    ...tensorWords(operands.experts),
    ...tensorWords(operands.weights),
  ];
  const scratch = 4 * (2 * scores.cols + nGroup) + scores.cols + nGroup;
  return { instructions: [{ opcode: "route", words }], scratch };
}

/** The products, and where they are weighted their sums. */
export function expertLinear(operands: ExpertLinearOperands, activations: Precision): Part {
  const { x, weight, bias, nExpert, experts, weights, residual, y } = operands;
  const K = weight.cols;
  const R = weight.rows / nExpert;
  const topK = experts.cols;
  const products: readonly [Word, Word] =
    weights === null
      ? [{ kind: "buffer", tensor: y }, integer(y.stride)]
      : [{ kind: "workspace", region: "scores" }, integer(topK * R)];
  const words = [
    ...[x.rows, K, R, nExpert, topK, DTYPES[weight.dtype]].map(integer),
    ...tensorWords(x),
    integer(x.cols === K ? 0 : K),
    weightWord(weight),
    weightWord(bias),
    ...tensorWords(experts),
    ...products,
    ...tensorWords(weights),
    ...tensorWords(residual),
    ...tensorWords(y),
    integer(Number(activations === "int8")),
  ];
  const scratch = WEIGHT_BLOCKS[weight.dtype].values === 1 ? plainRoom(K) : roundedRoom(K);
  if (weights === null) return { instructions: [{ opcode: "expertLinear", words }], scratch };
  return {
    instructions: [
      { opcode: "expertLinear", words },
      { opcode: "expertSum", words },
    ],
    scratch,
    scores: 4 * x.rows * topK * R,
  };
}

/** Bytes of the sums of four rows, the four rows, a group of weights as f32. */
function plainRoom(cols: number): number {
  return 4 * (4 * GROUP + 4 * cols + GROUP * cols);
}

/**
 * Bytes of what expert-rounded.wasm.ts holds: addresses, 24 places and their sums, a group's 256 columns as bytes with their
 * scales, a tile's rows, the rounded rows.
 */
function roundedRoom(cols: number): number {
  return 64 + 24 * (4 + 4 * GROUP) + GROUP * 320 + 6 * 4 * cols + 24 * (cols / 32) * 96;
}
