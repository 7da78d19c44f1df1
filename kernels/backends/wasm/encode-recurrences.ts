import type { MlstmOperands } from "../../ops/mlstm/mlstm.ts";
import type { RgLruOperands } from "../../ops/rg-lru/rg-lru.ts";
import { float, integer, POSITIONS, tensorWords, weightWord, type Part } from "./instructions.ts";

/** The words that ops/rg-lru/rg-lru.wasm.ts reads. */
export function encodeRgLru(operands: RgLruOperands, batch: number): Part {
  const { x, recurrenceGate, inputGate, logDecay, state, length, y } = operands;
  const words = [
    ...[batch, length, x.cols].map(integer),
    ...[x, recurrenceGate, inputGate].flatMap(tensorWords),
    weightWord(logDecay),
    ...[state, y].flatMap(tensorWords),
    POSITIONS,
  ];
  return { instructions: [{ opcode: "rgLru", words }] };
}

/** What depends on all of a head first, then the memory in slices of columns. */
/** The words that ops/mlstm/mlstm.wasm.ts reads. */
export function encodeMlstm(operands: MlstmOperands, batch: number): Part {
  const { q, k, v, inputGate, forgetGate, state, nHead, eps, length, y } = operands;
  const words = [
    ...[batch, length, nHead, q.cols / nHead, v.cols / nHead].map(integer),
    float(eps),
    ...[q, k, v, inputGate, forgetGate, state, y].flatMap(tensorWords),
    { kind: "workspace", region: "scores" } as const,
  ];
  return {
    instructions: [
      { opcode: "mlstmGates", words },
      { opcode: "mlstmMemory", words },
    ],
    scores: batch * length * nHead * 16,
  };
}
