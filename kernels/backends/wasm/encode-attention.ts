import { slotDtype, type AttentionOperands } from "../../ops/attention/attention.ts";
import type { RopeOperands } from "../../ops/rope/rope.ts";
import type { Plan } from "../../spec/op.ts";
import {
  float,
  integer,
  type Part,
  POSITIONS,
  tensorWords,
  weightWord,
  type Word,
} from "./instructions.ts";

/** Query rows that share a tile of keys. */
const BLOCK = 16;
/** Keys of a tile, as attention.wasm.ts has it. */
const TILE = 64;
/** Pieces of work below which the keys are split too, and most splits. The same for any number of threads, so that the bits are. */
const FEW_PIECES = 16;
const MOST_SPLITS = 8;

/** The words of rope.wasm.ts. */
export function rope(operands: RopeOperands): Part {
  const { x, frequencies, headDim, offset, pairs, scale, length, y } = operands;
  const words = [
    integer(x.rows),
    integer(x.cols),
    integer(length),
    integer(headDim),
    integer(offset),
    integer(frequencies.cols),
    integer(Number(pairs === "neighbours")),
    float(scale),
    ...tensorWords(x),
    weightWord(frequencies),
    POSITIONS,
    ...tensorWords(y),
  ];
  return { instructions: [{ opcode: "rope", words }], scratch: 2 * frequencies.cols * 4 };
}

/** The words of attention.wasm.ts. */
export function attention(operands: AttentionOperands, plan: Plan): Part {
  const { q, k, v, keys, values, nHead, nKvHead, headDimK, headDimV } = operands;
  const { scale, softCap, window, length, y } = operands;
  const dtype = slotDtype(operands, ({ buffer }) => plan.layout[buffer.index]);
  const rows = (nHead / nKvHead) * length;
  const block = Math.min(BLOCK, rows);
  const pieces = plan.batch * nKvHead * Math.ceil(rows / block);
  const splits = Math.min(MOST_SPLITS, Math.ceil(FEW_PIECES / pieces));
  const parts: Word = splits === 1 ? integer(0) : { kind: "workspace", region: "scores" };
  const words = [
    integer(plan.batch),
    integer(length),
    integer(nHead),
    integer(nKvHead),
    integer(headDimK),
    integer(headDimV),
    float(scale),
    float(softCap ?? 0),
    integer(window ?? 0),
    integer(Number(dtype === "f16")),
    integer(block),
    integer(splits),
    ...tensorWords(q),
    ...tensorWords(k),
    ...tensorWords(v),
    ...tensorWords(keys),
    ...tensorWords(values),
    POSITIONS,
    ...tensorWords(y),
    parts,
  ];
  const [paddedK, paddedV] = [roundUp(headDimK, 4), roundUp(headDimV, 8)];
  return {
    instructions: [
      { opcode: "attention", words },
      { opcode: "attentionFinish", words },
    ],
    scores: splits === 1 ? 0 : plan.batch * length * nHead * splits * (2 + headDimV) * 4,
    scratch: (roundUp(block, 4) * (paddedK + paddedV + TILE + 2) + TILE * (paddedK + paddedV)) * 4,
  };
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
