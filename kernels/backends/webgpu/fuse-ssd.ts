import type { GatedRmsNormOperands } from "../../ops/gated-rms-norm/gated-rms-norm.ts";
import type { RmsNormOperands } from "../../ops/rms-norm/rms-norm.ts";
import type { SsdOperands } from "../../ops/ssd/ssd.ts";
import type { OpCall, Plan } from "../../spec/op.ts";
import { createCallGraph } from "./call-graph.ts";

/**
 * Lets a step of `ssd` (T = 1) gate what it writes, and leaves a plain rms-norm of the gated one behind it. As the prologue of a
 * product every workgroup would gate all of its row again: 640 of them for the 5120 columns of a 2.7b model.
 * @param plan with temporaries as recorded, not shared yet
 */
export function gateInSsd(plan: Plan): Plan {
  const graph = createCallGraph(plan);
  for (let at = 0; at < graph.length; at++) {
    const norm = graph.operands<GatedRmsNormOperands>(at, "gated-rms-norm");
    const by = norm === null ? null : graph.producer(norm.x);
    const step = by === null ? null : graph.operands<SsdOperands>(by, "ssd");
    if (norm === null || by === null || step === null) continue;
    if (step.length !== 1 || step.z !== null || graph.readers(norm.x)?.length !== 1) continue;
    // What gates must be there when the step begins.
    if (!graph.isUnwritten(norm.z, by - 1, at)) continue;
    const { x, weight, eps, groupSize, y } = norm;
    const plain: RmsNormOperands = { x, weight, eps, groupSize, over: "mean", y };
    graph.replace(by, callOf("ssd", { ...step, z: norm.z }));
    graph.replace(at, callOf("rms-norm", plain));
  }
  return { ...plan, calls: graph.calls() };
}

function callOf(op: string, operands: SsdOperands | RmsNormOperands): OpCall {
  return { op, operands: { ...operands } };
}
