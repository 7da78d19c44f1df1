import type { Operands } from "../../spec/op.ts";
import {
  floatWord,
  fold,
  numberOf,
  tensorOf,
  type Dispatch,
  type DispatchContext,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import softplus from "../../wgsl/softplus.wgsl?raw";
import source from "./mlstm.wgsl?raw";

/** The gates, the memory, the outputs; see mlstm.wgsl. */
export function describeMlstm(operands: Operands, context: DispatchContext): Dispatch[] {
  const q = tensorOf(operands, "q");
  const v = tensorOf(operands, "v");
  const state = tensorOf(operands, "state");
  const y = tensorOf(operands, "y");
  const length = numberOf(operands, "length");
  const nHead = numberOf(operands, "nHead");
  const batch = q.rows / length;
  const headDimV = v.cols / nHead;
  const params = [
    batch,
    length,
    floatWord(numberOf(operands, "eps")),
    ...["q", "k", "v", "inputGate", "forgetGate"].flatMap((name) => {
      const read = tensorOf(operands, name);
      return [context.place(read), read.stride];
    }),
    context.target(y),
    y.stride,
    state.offset,
    state.stride,
    context.scratch(q.rows * nHead * 3),
    context.scratch(q.rows * nHead * (headDimV + 1)),
  ];
  const dispatch = (entryPoint: string, writes: boolean, threads: number): Dispatch => ({
    shader: { name: "mlstm", parts: [grid, softplus, source] },
    entryPoint,
    constants: { HEADS: nHead, HEAD_DIM_K: q.cols / nHead, HEAD_DIM_V: headDimV },
    params,
    reads: [],
    state: writes ? state : null,
    workgroups: fold(Math.ceil(threads / 64)),
  });
  return [
    dispatch("mlstm_gates", true, batch * nHead),
    dispatch("mlstm_memory", true, batch * nHead * (headDimV + 1)),
    dispatch("mlstm_output", false, q.rows * v.cols),
  ];
}
