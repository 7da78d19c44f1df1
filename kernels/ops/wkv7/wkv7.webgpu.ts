import { numberOf, tensorOf, type Dispatch, type DispatchContext } from "../../wgsl/dispatch.ts";
import { elementwiseGrid } from "../../wgsl/elementwise.ts";
import elementwise from "../../wgsl/elementwise.wgsl?raw";
import grid from "../../wgsl/grid.wgsl?raw";
import type { Operands } from "../../spec/op.ts";
import source from "./wkv7.wgsl?raw";

/** A thread a row of the state; see wkv7.wgsl. */
export function describeWkv7(operands: Operands, context: DispatchContext): Dispatch[] {
  const [r, w, k, v, kappa, a] = ["r", "w", "k", "v", "kappa", "a"].map((name) =>
    tensorOf(operands, name),
  );
  const state = tensorOf(operands, "state");
  const y = tensorOf(operands, "y");
  const length = numberOf(operands, "length");
  const nHead = numberOf(operands, "nHead");
  const batch = r.rows / length;
  return [
    {
      shader: {
        name: "wkv7",
        parts: [grid, elementwise, source],
        consts: { KEY_DIM: r.cols / nHead },
      },
      entryPoint: "wkv7",
      constants: { VALUE_DIM: v.cols / nHead, VALUES: v.cols },
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
      workgroups: elementwiseGrid(batch, v.cols),
    },
  ];
}
