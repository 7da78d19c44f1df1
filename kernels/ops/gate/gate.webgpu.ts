import { ACTIVATION_CODES } from "../../spec/activations.ts";
import type { Operands } from "../../spec/op.ts";
import activate from "../../wgsl/activate.wgsl?raw";
import {
  activationOf,
  numberOf,
  tensorOf,
  type Dispatch,
  type DispatchContext,
  type Shader,
} from "../../wgsl/dispatch.ts";
import { elementwiseGrid } from "../../wgsl/elementwise.ts";
import elementwise from "../../wgsl/elementwise.wgsl?raw";
import grid from "../../wgsl/grid.wgsl?raw";
import softplus from "../../wgsl/softplus.wgsl?raw";
import source from "./gate.wgsl?raw";

const shader: Shader = { name: "gate", parts: [grid, elementwise, softplus, activate, source] };

/** A thread a value; see gate.wgsl. */
export function describeGate(operands: Operands, context: DispatchContext): Dispatch[] {
  const a = tensorOf(operands, "a");
  const b = tensorOf(operands, "b");
  const y = tensorOf(operands, "y");
  return [
    {
      shader,
      entryPoint: "gate",
      constants: {},
      params: [
        b.rows,
        b.cols,
        numberOf(operands, "repeat"),
        ACTIVATION_CODES[activationOf(operands, "act")],
        context.place(a),
        a.stride,
        context.place(b),
        b.stride,
        context.target(y),
        y.stride,
      ],
      reads: [],
      state: null,
      workgroups: elementwiseGrid(b.rows, b.cols),
    },
  ];
}
