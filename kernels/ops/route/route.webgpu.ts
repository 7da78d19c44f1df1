import { KernelError } from "../../spec/errors.ts";
import type { Operands } from "../../spec/op.ts";
import {
  flagOf,
  floatWord,
  fold,
  numberOf,
  optionalWeightOf,
  tensorOf,
  type Dispatch,
  type DispatchContext,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import source from "./route.wgsl?raw";

/** What fits into the 16 KiB of workgroup memory that every device has; twice the largest model's. */
const MOST_EXPERTS = 1024;

/** Numbers of the scorings, as route.wgsl has them. */
const SCORINGS: ReadonlyMap<unknown, number> = new Map([
  ["softmax", 0],
  ["sigmoid", 1],
  ["softmax-of-chosen", 2],
  ["raw", 3],
]);

/** A workgroup a row; see route.wgsl. @throws KernelError `unsupported` for more experts than fit into workgroup memory */
export function describeRoute(operands: Operands, context: DispatchContext): Dispatch[] {
  const scores = tensorOf(operands, "scores");
  const choiceBias = optionalWeightOf(operands, "choiceBias");
  const experts = tensorOf(operands, "experts");
  const weights = tensorOf(operands, "weights");
  const scoring = SCORINGS.get(operands["scoring"]);
  if (scoring === undefined)
    throw new KernelError("backend", `route: there is no scoring "${String(operands["scoring"])}"`);
  if (scores.cols > MOST_EXPERTS) {
    throw new KernelError(
      "unsupported",
      `route: ${scores.cols} experts, but the WebGPU kernel chooses among at most ${MOST_EXPERTS}`,
    );
  }
  return [
    {
      shader: { name: "route", parts: [grid, source] },
      entryPoint: "route",
      constants: {
        EXPERTS: scores.cols,
        GROUPS: numberOf(operands, "nGroup"),
        TOP_K: experts.cols,
        SCORING: scoring,
      },
      params: [
        scores.rows,
        context.place(scores),
        scores.stride,
        context.target(experts),
        experts.stride,
        context.target(weights),
        weights.stride,
        numberOf(operands, "topKGroup"),
        choiceBias === null ? 0 : 1,
        flagOf(operands, "normalise"),
        floatWord(numberOf(operands, "scale")),
      ],
      reads: [{ kind: "vector", weight: choiceBias }],
      state: null,
      workgroups: fold(scores.rows),
    },
  ];
}
