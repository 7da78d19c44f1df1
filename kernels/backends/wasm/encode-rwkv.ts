import type { TokenShiftOperands } from "../../ops/token-shift/token-shift.ts";
import type { Wkv4Operands } from "../../ops/wkv4/wkv4.ts";
import type { Wkv7BonusOperands } from "../../ops/wkv7-bonus/wkv7-bonus.ts";
import type { Wkv7KeysOperands } from "../../ops/wkv7-keys/wkv7-keys.ts";
import type { Wkv7Operands } from "../../ops/wkv7/wkv7.ts";
import { float, integer, type Part, tensorWords, weightWord } from "./instructions.ts";

/** As ops/token-shift/token-shift.wasm.ts reads it. */
export function tokenShift(operands: TokenShiftOperands, batch: number): Part {
  const { x, mix, state, length, y } = operands;
  const words = [
    integer(batch),
    integer(length),
    integer(mix.cols),
    integer(mix.rows),
    ...tensorWords(x),
    weightWord(mix),
    ...tensorWords(state),
    ...tensorWords(y),
  ];
  return { instructions: [{ opcode: "tokenShift", words }] };
}

/** As ops/wkv4/wkv4.wasm.ts reads it. */
export function wkv4(operands: Wkv4Operands, batch: number): Part {
  const { k, v, decay, bonus, state, length, y } = operands;
  const words = [
    integer(batch),
    integer(length),
    integer(k.cols),
    ...tensorWords(k),
    ...tensorWords(v),
    weightWord(decay),
    weightWord(bonus),
    ...tensorWords(state),
    ...tensorWords(y),
  ];
  return { instructions: [{ opcode: "wkv4", words }] };
}

/** As ops/wkv7/wkv7.wasm.ts reads it. */
export function wkv7(operands: Wkv7Operands, batch: number): Part {
  const { r, w, k, v, kappa, a, state, nHead, length, y } = operands;
  const words = [
    integer(batch),
    integer(length),
    integer(nHead),
    integer(r.cols / nHead),
    integer(v.cols / nHead),
    ...[r, w, k, v, kappa, a, state, y].flatMap(tensorWords),
  ];
  return { instructions: [{ opcode: "wkv7", words }] };
}

/** As ops/wkv7-keys/wkv7-keys.wasm.ts reads it. */
export function wkv7Keys(operands: Wkv7KeysOperands): Part {
  const { k, w, a, removal, replacement, nHead, eps, y } = operands;
  const words = [
    integer(k.rows),
    integer(nHead),
    integer(k.cols / nHead),
    ...tensorWords(k),
    ...tensorWords(w),
    ...tensorWords(a),
    weightWord(removal),
    weightWord(replacement),
    float(eps),
    ...tensorWords(y),
  ];
  return { instructions: [{ opcode: "wkv7Keys", words }] };
}

/** As ops/wkv7-bonus/wkv7-bonus.wasm.ts reads it. */
export function wkv7Bonus(operands: Wkv7BonusOperands): Part {
  const { x, r, k, v, g, weight, nHead, y } = operands;
  const words = [
    integer(x.rows),
    integer(nHead),
    integer(r.cols / nHead),
    integer(x.cols / nHead),
    ...[x, r, k, v, g].flatMap(tensorWords),
    weightWord(weight),
    ...tensorWords(y),
  ];
  return { instructions: [{ opcode: "wkv7Bonus", words }] };
}
