import { tokenShift } from "../ops/token-shift/token-shift.ts";
import { wkv4 } from "../ops/wkv4/wkv4.ts";
import { wkv7Bonus } from "../ops/wkv7-bonus/wkv7-bonus.ts";
import { wkv7Keys } from "../ops/wkv7-keys/wkv7-keys.ts";
import { wkv7 } from "../ops/wkv7/wkv7.ts";
import type { Backend } from "../spec/backend.ts";
import { runOp, type InputArray, type OpResult } from "./op-runner.ts";
import { seeded } from "./seeded.ts";

/** The ops of RWKV for op-trials.ts: two sequences of five tokens, three heads of six channels. */
export const rwkvTrials: Readonly<Record<string, (backend: Backend) => Promise<OpResult<string>>>> =
  {
    "token-shift": (backend) =>
      runOp(backend, {
        ...SHAPE,
        inputs: { x: input(1) },
        states: { state: seeded(2).normal(2 * COLS) },
        weights: { mix: { rows: 3, cols: COLS, values: seeded(3).uniform(3 * COLS, 0, 1) } },
        record: (k, { inputs, states, weights }) =>
          tokenShift(k, { ...inputs, ...weights, state: states.state }),
      }),
    wkv4: (backend) =>
      runOp(backend, {
        ...SHAPE,
        inputs: { k: input(4), v: input(5) },
        states: { state: new Float32Array(2 * 3 * COLS) },
        weights: {
          decay: { rows: 1, cols: COLS, values: seeded(6).uniform(COLS, -2, -0.1) },
          bonus: { rows: 1, cols: COLS, values: seeded(7).normal(COLS) },
        },
        record: (k, { inputs, states, weights }) =>
          wkv4(k, { ...inputs, ...weights, state: states.state }),
      }),
    wkv7: (backend) =>
      runOp(backend, {
        ...SHAPE,
        inputs: {
          r: input(8),
          w: { cols: COLS, values: seeded(9).uniform(ROWS * COLS, 0.55, 1) },
          k: input(10),
          v: input(11),
          kappa: { cols: COLS, values: seeded(12).uniform(ROWS * COLS, -0.4, 0.4) },
          a: { cols: COLS, values: seeded(13).uniform(ROWS * COLS, 0, 1) },
        },
        states: { state: seeded(14).normal(2 * HEADS * 36) },
        weights: {},
        record: (k, { inputs, states }) =>
          wkv7(k, { ...inputs, state: states.state, nHead: HEADS }),
      }),
    "wkv7-keys": (backend) =>
      runOp(backend, {
        ...SHAPE,
        inputs: { k: input(15), w: input(16), a: input(17) },
        states: {},
        weights: {
          removal: { rows: 1, cols: COLS, values: seeded(18).normal(COLS) },
          replacement: { rows: 1, cols: COLS, values: seeded(19).uniform(COLS, 0, 1) },
        },
        record: (k, { inputs, weights }) =>
          wkv7Keys(k, { ...inputs, ...weights, nHead: HEADS, eps: 1e-24 }).w,
      }),
    "wkv7-bonus": (backend) =>
      runOp(backend, {
        ...SHAPE,
        inputs: { x: input(20), r: input(21), k: input(22), v: input(23), g: input(24) },
        states: {},
        weights: { weight: { rows: 1, cols: COLS, values: seeded(25).normal(COLS) } },
        record: (k, { inputs, weights }) => wkv7Bonus(k, { ...inputs, ...weights, nHead: HEADS }),
      }),
  };

const SHAPE = { batch: 2, length: 5 };
const HEADS = 3;
const ROWS = SHAPE.batch * SHAPE.length;
const COLS = HEADS * 6;

function input(seed: number): InputArray {
  return { cols: COLS, values: seeded(seed).normal(ROWS * COLS) };
}
