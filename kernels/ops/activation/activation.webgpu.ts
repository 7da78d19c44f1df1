import { ACTIVATION_CODES } from "../../spec/activations.ts";
import type { Operands } from "../../spec/op.ts";
import activate from "../../wgsl/activate.wgsl?raw";
import {
  activationOf,
  floatWord,
  numberOf,
  optionalWeightOf,
  tensorOf,
  type Dispatch,
  type DispatchContext,
  type Shader,
} from "../../wgsl/dispatch.ts";
import { elementwiseGrid } from "../../wgsl/elementwise.ts";
import elementwise from "../../wgsl/elementwise.wgsl?raw";
import grid from "../../wgsl/grid.wgsl?raw";
import softplus from "../../wgsl/softplus.wgsl?raw";
import source from "./activation.wgsl?raw";

const shader: Shader = {
  name: "activation",
  parts: [grid, elementwise, softplus, activate, source],
};

/** A thread a value; see activation.wgsl. */
export function describeActivation(operands: Operands, context: DispatchContext): Dispatch[] {
  const x = tensorOf(operands, "x");
  const bias = optionalWeightOf(operands, "bias");
  const y = tensorOf(operands, "y");
  return [
    {
      shader,
      entryPoint: "activation",
      constants: {},
      params: [
        x.rows,
        x.cols,
        context.place(x),
        x.stride,
        context.target(y),
        y.stride,
        ACTIVATION_CODES[activationOf(operands, "act")],
        floatWord(numberOf(operands, "scale")),
        floatWord(numberOf(operands, "gain")),
        bias === null ? 0 : 1,
      ],
      reads: [{ kind: "vector", weight: bias }],
      state: null,
      workgroups: elementwiseGrid(x.rows, x.cols),
    },
  ];
}
