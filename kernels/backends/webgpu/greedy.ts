import type { Plan } from "../../spec/op.ts";
import type { Dispatch } from "../../wgsl/dispatch.ts";
import type { ArenaLayout } from "./arena.ts";
import source from "./greedy.wgsl?raw";

/** Where `greedy` leaves its choices, and what makes them. */
export interface Greedy {
  /** The arena index of the (B) i32 choices. */
  readonly choice: number;
  readonly dispatch: Dispatch;
}

/**
 * Chooses each sequence's next id from the plan's only output, (B, vocab).
 * @param threads of a workgroup, at most; a power of two
 */
export function describeGreedy(plan: Plan, layout: ArenaLayout, threads: number): Greedy {
  const vocab = plan.outputs[0] / plan.batch;
  layout.beginCall();
  const choice = layout.scratch(plan.batch);
  return {
    choice,
    dispatch: greedyDispatch(plan.batch, vocab, layout.output(0), choice, threads),
  };
}

function greedyDispatch(
  batch: number,
  vocab: number,
  logits: number,
  choice: number,
  threads: number,
): Dispatch {
  return {
    shader: { name: "greedy", parts: [source] },
    entryPoint: "greedy",
    constants: { THREADS: threads },
    params: [logits, vocab, vocab, choice],
    reads: [],
    state: null,
    workgroups: [batch, 1, 1],
  };
}
