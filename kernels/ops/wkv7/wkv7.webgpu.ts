import {
  fold,
  numberOf,
  tensorOf,
  type Dispatch,
  type DispatchContext,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import { reductionFor } from "../../wgsl/reduce.ts";
import type { Operands } from "../../spec/op.ts";
import source from "./wkv7.wgsl?raw";

/** Few, so that even one head's rows spread over a large GPU. */
const TEAMS = 2;

/** A team of lanes a row of the state; see wkv7.wgsl. */
export function describeWkv7(operands: Operands, context: DispatchContext): Dispatch[] {
  const [r, w, k, v, kappa, a] = ["r", "w", "k", "v", "kappa", "a"].map((name) =>
    tensorOf(operands, name),
  );
  const state = tensorOf(operands, "state");
  const y = tensorOf(operands, "y");
  const length = numberOf(operands, "length");
  const nHead = numberOf(operands, "nHead");
  const batch = r.rows / length;
  const keyDim = r.cols / nHead;
  const { part, subgroups, team } = reductionFor(context);
  return [
    {
      shader: {
        name: "wkv7",
        parts: [grid, part, source],
        consts: { KEY_DIM: keyDim, EACH: Math.ceil(keyDim / team) },
        subgroups,
      },
      entryPoint: "wkv7",
      constants: { TEAM: team, TEAMS, VALUE_DIM: v.cols / nHead, VALUES: v.cols },
      params: [
        batch,
        length,
        ...[r, w, k, v, kappa, a].flatMap((x) => [context.place(x), x.stride]),
        context.target(y),
        y.stride,
        state.offset,
        state.stride,
      ],
      reads: [],
      state,
      workgroups: fold(Math.ceil((batch * v.cols) / TEAMS)),
    },
  ];
}
