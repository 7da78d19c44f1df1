import type { Plan } from "../../spec/op.ts";
import { createCallGraph, type FuseLimits } from "./call-graph.ts";
import { fuseLinears } from "./fuse-linear.ts";
import { fuseSelectiveScans } from "./fuse-selective-scan.ts";
import { gateInSsd } from "./fuse-ssd.ts";

/**
 * The plan with ops drawn together that one kernel does: each dispatch that goes spares its launch, and the wait for the
 * one before it. What is left stays as it is. See docs/decisions/0012.
 * @param plan with temporaries as recorded, not shared yet
 */
export function fusePlan(plan: Plan, limits: FuseLimits): Plan {
  const gated = gateInSsd(plan);
  const graph = createCallGraph(gated);
  // The projection of dt belongs to the scan, with its norm.
  fuseSelectiveScans(graph, limits);
  fuseLinears(graph, limits);
  return { ...gated, calls: graph.calls() };
}
