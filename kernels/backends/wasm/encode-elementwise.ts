import type { ActivationOperands } from "../../ops/activation/activation.ts";
import type { BlockLinearOperands } from "../../ops/block-linear/block-linear.ts";
import type { GateOperands } from "../../ops/gate/gate.ts";
import type { LayerNormOperands } from "../../ops/layer-norm/layer-norm.ts";
import type { RmsNormOperands } from "../../ops/rms-norm/rms-norm.ts";
import type { ScaledAddOperands } from "../../ops/scaled-add/scaled-add.ts";
import { ACTIVATION_CODES } from "../../spec/activations.ts";
import type { Weight } from "../../spec/tensor.ts";
import {
  DTYPES,
  float,
  GROUP,
  integer,
  type Part,
  tensorWords,
  weightWord,
  type Word,
} from "./instructions.ts";

/** The words of rms-norm.wasm.ts. */
export function rmsNorm({ x, weight, eps, groupSize, over, y }: RmsNormOperands): Part {
  const shared = weight !== null && weight.cols !== x.cols;
  const words = [
    integer(x.rows),
    integer(x.cols),
    integer(groupSize),
    ...tensorWords(x),
    weightWord(weight),
    integer(shared ? 0 : groupSize),
    float(over === "mean" ? groupSize : 1),
    float(eps),
    ...tensorWords(y),
  ];
  return { instructions: [{ opcode: "rmsNorm", words }] };
}

/** The words of layer-norm.wasm.ts. */
export function layerNorm({ x, weight, bias, eps, groupSize, y }: LayerNormOperands): Part {
  const words = [
    integer(x.rows),
    integer(x.cols),
    integer(groupSize),
    ...tensorWords(x),
    weightWord(weight),
    weightWord(bias),
    float(eps),
    ...tensorWords(y),
  ];
  return { instructions: [{ opcode: "layerNorm", words }] };
}

/** The words of activation.wasm.ts. */
export function activation({ x, act, scale, bias, gain, y }: ActivationOperands): Part {
  const words = [
    integer(x.rows),
    integer(x.cols),
    ...tensorWords(x),
    integer(ACTIVATION_CODES[act]),
    float(scale),
    weightWord(bias),
    float(gain),
    ...tensorWords(y),
  ];
  return { instructions: [{ opcode: "activation", words }] };
}

/** The words of gate.wasm.ts. */
export function gate({ a, b, act, repeat, y }: GateOperands): Part {
  const words = [
    integer(b.rows),
    integer(b.cols),
    integer(repeat),
    integer(ACTIVATION_CODES[act]),
    ...tensorWords(a),
    ...tensorWords(b),
    ...tensorWords(y),
  ];
  return { instructions: [{ opcode: "gate", words }] };
}

/** The words of scaled-add.wasm.ts. */
export function scaledAdd({ a, aScale, b, bScale, bias, y }: ScaledAddOperands): Part {
  const words = [
    integer(a.rows),
    integer(a.cols),
    ...tensorWords(a),
    ...scaleWords(aScale),
    ...tensorWords(b),
    ...scaleWords(bScale),
    weightWord(bias),
    ...tensorWords(y),
  ];
  return { instructions: [{ opcode: "scaledAdd", words }] };
}

/** Factors by column, or one number for all. */
function scaleWords(scale: number | Weight): readonly [Word, Word] {
  return typeof scale === "number" ? [integer(0), float(scale)] : [weightWord(scale), float(0)];
}

/** The words of block-linear.wasm.ts, and room for the sums of four rows and one group of weights as f32. */
export function blockLinear({ x, weight, bias, nBlock, y }: BlockLinearOperands): Part {
  const words = [
    integer(x.rows),
    integer(weight.cols),
    integer(weight.rows),
    integer(weight.rows / nBlock),
    integer(DTYPES[weight.dtype]),
    ...tensorWords(x),
    weightWord(weight),
    weightWord(bias),
    ...tensorWords(y),
  ];
  const scratch = 4 * (4 * GROUP + GROUP * weight.cols);
  return { instructions: [{ opcode: "blockLinear", words }], scratch };
}
