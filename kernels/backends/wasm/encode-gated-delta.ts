import type { GatedDeltaOperands } from "../../ops/gated-delta/gated-delta.ts";
import { float, integer, tensorWords, weightWord, type Part } from "./instructions.ts";

/** Columns of a memory in one piece of work: with 128 rows, half of a first-level cache. */
const SLICE = 32;

export function encodeGatedDelta(operands: GatedDeltaOperands, batch: number): Part {
  const { q, k, v, dtRaw, dtBias, A, betaRaw, state, y, length } = operands;
  const { nKeyHead, nValueHead, keyHeads, headDimK, headDimV } = operands;
  const perChannel = dtRaw.cols !== nValueHead;
  const words = [
    ...[batch, length, nKeyHead, nValueHead, headDimK, headDimV].map(integer),
    ...[Number(keyHeads === "tiled"), Number(perChannel), SLICE].map(integer),
    float(operands.betaScale),
    float(operands.scale),
    ...[q, k, v, dtRaw].flatMap(tensorWords),
    weightWord(dtBias),
    weightWord(A),
    ...[betaRaw, state, y].flatMap(tensorWords),
  ];
  return {
    instructions: [{ opcode: "gatedDelta", words }],
    // α, α k and α q of one head, each in whole vectors.
    scratch: 3 * Math.ceil(headDimK / 4) * 16,
  };
}
