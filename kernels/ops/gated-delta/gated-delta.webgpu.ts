import type { Operands } from "../../spec/op.ts";
import {
  floatWord,
  fold,
  numberOf,
  tensorOf,
  weightOf,
  type Dispatch,
  type DispatchContext,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import softplus from "../../wgsl/softplus.wgsl?raw";
import source from "./gated-delta.wgsl?raw";

/** Rows of S that a thread keeps in registers; more would spill. */
const MOST_ROWS = 16;
/** Threads of a workgroup. */
const THREADS = 128;

/** One dispatch, whatever T; see gated-delta.wgsl. */
export function describeGatedDelta(operands: Operands, context: DispatchContext): Dispatch[] {
  const q = tensorOf(operands, "q");
  const k = tensorOf(operands, "k");
  const v = tensorOf(operands, "v");
  const dtRaw = tensorOf(operands, "dtRaw");
  const betaRaw = tensorOf(operands, "betaRaw");
  const state = tensorOf(operands, "state");
  const y = tensorOf(operands, "y");
  const headDimK = numberOf(operands, "headDimK");
  const headDimV = numberOf(operands, "headDimV");
  const nValueHead = numberOf(operands, "nValueHead");
  const length = numberOf(operands, "length");
  const batch = q.rows / length;
  // Where a CPU plays the GPU, barriers are dear and there is nothing to be gained by sharing a column.
  const parts = context.software ? 1 : Math.min(THREADS, Math.ceil(headDimK / MOST_ROWS));
  const columns = context.software ? 16 : Math.max(1, Math.floor(THREADS / parts));
  return [
    {
      shader: {
        name: "gated-delta",
        parts: [grid, softplus, source],
        consts: { COLUMNS: columns, PARTS: parts, ROWS: Math.ceil(headDimK / parts) },
      },
      entryPoint: "gated_delta",
      constants: {
        HEADS: nValueHead,
        KEY_HEADS: numberOf(operands, "nKeyHead"),
        TILED: operands["keyHeads"] === "tiled" ? 1 : 0,
        HEAD_DIM_K: headDimK,
        HEAD_DIM_V: headDimV,
        PER_CHANNEL: dtRaw.cols === nValueHead ? 0 : 1,
      },
      params: [
        batch,
        length,
        ...[q, k, v, dtRaw, betaRaw].flatMap((x) => [context.place(x), x.stride]),
        context.target(y),
        y.stride,
        state.offset,
        state.stride,
        floatWord(numberOf(operands, "betaScale")),
        floatWord(numberOf(operands, "scale")),
      ],
      reads: [
        { kind: "vector", weight: weightOf(operands, "dtBias") },
        { kind: "vector", weight: weightOf(operands, "A") },
      ],
      state,
      workgroups: fold(batch * nValueHead * Math.ceil(headDimV / columns)),
    },
  ];
}
