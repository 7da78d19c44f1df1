import type { GatedDeltaOperands } from "../../ops/gated-delta/gated-delta.ts";
import { float, integer, tensorWords, weightWord, type Part } from "./instructions.ts";

/** The words that ops/gated-delta/gated-delta.wasm.ts reads. */
export function encodeGatedDelta(
  operands: GatedDeltaOperands,
  batch: number,
  threads: number,
): Part {
  const { q, k, v, dtRaw, dtBias, A, betaRaw, state, y, length } = operands;
  const { nKeyHead, nValueHead, keyHeads, headDimK, headDimV } = operands;
  const perChannel = dtRaw.cols !== nValueHead;
  const words = [
    ...[batch, length, nKeyHead, nValueHead, headDimK, headDimV].map(integer),
    ...[Number(keyHeads === "tiled"), Number(perChannel)].map(integer),
    integer(sliceOf(headDimV, batch * nValueHead, threads)),
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

/**
 * Columns of a memory in one piece of work: all, for each piece makes α, α k and α q anew; less where there are fewer heads
 * than would keep all threads busy.
 */
function sliceOf(headDimV: number, heads: number, threads: number): number {
  let slice = Math.ceil(headDimV / 16) * 16;
  while (slice > 16 && heads * Math.ceil(headDimV / slice) < 4 * threads)
    slice = Math.ceil(slice / 32) * 16;
  return slice;
}
