import type { Operands } from "../../spec/op.ts";
import type { Weight } from "../../spec/tensor.ts";
import {
  floatWord,
  numberOf,
  optionalTensorOf,
  optionalWeightOf,
  tensorOf,
  weightOf,
  type Dispatch,
  type DispatchContext,
  type Shader,
} from "../../wgsl/dispatch.ts";
import { elementwiseGrid } from "../../wgsl/elementwise.ts";
import elementwise from "../../wgsl/elementwise.wgsl?raw";
import grid from "../../wgsl/grid.wgsl?raw";
import source from "./scaled-add.wgsl?raw";

const shader: Shader = { name: "scaled-add", parts: [grid, elementwise, source] };
/** The bits of `has` in scaled-add.wgsl. */
const HAS_B = 1;
const HAS_BIAS = 2;
const A_BY_COLUMN = 4;
const B_BY_COLUMN = 8;

/** A thread a value; see scaled-add.wgsl. */
export function describeScaledAdd(operands: Operands, context: DispatchContext): Dispatch[] {
  const a = tensorOf(operands, "a");
  const b = optionalTensorOf(operands, "b");
  const bias = optionalWeightOf(operands, "bias");
  const y = tensorOf(operands, "y");
  const ofA = scaleOf(operands, "aScale");
  const ofB = scaleOf(operands, "bScale");
  const has =
    (b === null ? 0 : HAS_B) |
    (bias === null ? 0 : HAS_BIAS) |
    (ofA.byColumn === null ? 0 : A_BY_COLUMN) |
    (ofB.byColumn === null ? 0 : B_BY_COLUMN);
  return [
    {
      shader,
      entryPoint: "scaled_add",
      constants: {},
      params: [
        a.rows,
        a.cols,
        has,
        context.place(a),
        a.stride,
        floatWord(ofA.all),
        b === null ? 0 : context.place(b),
        b === null ? 0 : b.stride,
        floatWord(ofB.all),
        context.target(y),
        y.stride,
      ],
      reads: [
        { kind: "vector", weight: ofA.byColumn },
        { kind: "vector", weight: ofB.byColumn },
        { kind: "vector", weight: bias },
      ],
      state: null,
      workgroups: elementwiseGrid(a.rows, a.cols),
    },
  ];
}

/** One factor for all columns, or a factor a column. */
function scaleOf(operands: Operands, name: string): { all: number; byColumn: Weight | null } {
  return typeof operands[name] === "number"
    ? { all: numberOf(operands, name), byColumn: null }
    : { all: 0, byColumn: weightOf(operands, name) };
}
