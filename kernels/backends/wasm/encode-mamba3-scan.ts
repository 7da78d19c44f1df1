import { float, integer, tensorWords, weightWord, type Part } from "./instructions.ts";
import type { Mamba3ScanOperands } from "../../ops/mamba3-scan/mamba3-scan.ts";

/** One instruction; scratch for queries, keys, values, outputs, cosines and sines of one head and token. */
export function encodeMamba3Scan(operands: Mamba3ScanOperands, batch: number): Part {
  const { x, z, B, C, dtRaw, aRaw, trap, angleRaw, rank, pairs, y } = operands;
  const nHead = operands.D.cols;
  const headDim = x.cols / nHead;
  const dState = operands.BBias.cols;
  const nAngle = angleRaw.cols;
  const words = [
    ...[batch, operands.length, nHead, headDim, dState, nAngle, operands.nGroup, rank].map(integer),
    integer(Number(operands.decay === "softplus")),
    float(operands.aFloor),
    float(operands.eps),
    integer(pairs === "neighbours" ? 1 : dState / 2),
    integer(pairs === "neighbours" ? 2 : 1),
    ...[x, z, B, C, dtRaw, aRaw, trap, angleRaw].flatMap(tensorWords),
    weightWord(operands.dtBias),
    weightWord(operands.BBias),
    weightWord(operands.CBias),
    weightWord(operands.D),
    weightWord(operands.mimoX),
    weightWord(operands.mimoZ),
    weightWord(operands.mimoO),
    weightWord(operands.norm),
    ...[operands.angles, operands.state, operands.keys, operands.values, y].flatMap(tensorWords),
  ];
  return {
    instructions: [{ opcode: "mamba3Scan", words }],
    scratch: 2 * (rank * (dState + headDim) + nAngle) * 4,
  };
}
