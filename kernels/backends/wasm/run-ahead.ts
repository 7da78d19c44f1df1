import type { AheadLimits, Executable, FedRuns, StateBuffers } from "../../spec/backend.ts";
import { KernelError } from "../../spec/errors.ts";
import type { Plan } from "../../spec/op.ts";
import { assemble, countWords, integer, type Instruction } from "./instructions.ts";
import type { SharedArena } from "./memory.ts";

/** What a run leaves: each sequence's next id, -1 where no logit is the largest, and the logarithm of its probability. */
interface Likeliest {
  readonly ids: Int32Array;
  readonly logProbs: Float32Array;
}

/** A choice in memory: the instruction, with the words of wasm/likeliest.wasm.ts, and what it leaves. */
export interface Choice {
  readonly program: number;
  /** (2, B) words: ids, and sums of powers as f32. */
  readonly results: number;
}

/**
 * Puts the choice behind a plan, whose logits lie at `logits`, into memory from `hold`; null where the plan has more than the
 * logits of one token of each sequence.
 */
export function prepareChoice(
  { batch, length, outputs }: Plan,
  logits: number,
  hold: (bytes: number, what: string) => number,
  arena: SharedArena,
): Choice | null {
  const [values = 0] = outputs;
  if (length !== 1 || outputs.length !== 1) return null;
  const results = hold(batch * 8, "choices");
  const words = [batch, values / batch, logits, results, results + batch * 4].map(integer);
  const instructions: readonly Instruction[] = [{ opcode: "likeliest", words }];
  const count = countWords(instructions);
  const program = hold(count * 4, "a choice");
  assemble(
    instructions,
    { weight: hasNone, workspace: hasNone, buffer: hasNone },
    arena.words(program, count),
  );
  return { program, results };
}

function hasNone(): never {
  throw new KernelError("backend", "a choice has no operands but addresses");
}

/** What an executable runs ahead with. */
interface Steps {
  run(ids: Int32Array, state: StateBuffers, readback: boolean): unknown;
  /** Runs a choice. */
  choose(program: number): void;
  readOutputs(): Float32Array[];
}

/** `Executable.runAhead` where there is a choice. */
export function runsAhead(
  { batch }: Plan,
  choice: Choice | null,
  arena: SharedArena,
  steps: Steps,
): Pick<Executable, "runAhead"> {
  if (choice === null) return {};
  const { program, results } = choice;
  return {
    async runAhead(first, state, limits, onFed) {
      await feedLikeliest(first, state, limits, onFed, (ids) => {
        steps.run(ids, state, false);
        steps.choose(program);
        const sums = arena.floats(results + batch * 4, batch);
        const logProbs = sums.map((sum) => -Math.log(sum));
        return { ids: arena.words(results, batch).slice(), logProbs };
      });
      return steps.readOutputs();
    },
  };
}

/**
 * What a run chose is fed by the next.
 * @param run feeds (B) ids and says what follows them
 * @throws KernelError `unsupported` for choices that are more than the likeliest
 */
async function feedLikeliest(
  first: Int32Array,
  state: StateBuffers,
  { steps, stopIds, choices }: AheadLimits,
  onFed: (runs: FedRuns) => boolean | Promise<boolean>,
  run: (ids: Int32Array) => Likeliest,
): Promise<void> {
  if (choices !== null) {
    throw new KernelError(
      "unsupported",
      "the WASM backend runs ahead with the likeliest ids only: choose others from the outputs of single runs",
    );
  }
  const from = state.positions.slice();
  const stops = new Set(stopIds);
  let fed = first;
  try {
    for (let left = steps; left > 0; left--) {
      const next = run(fed);
      const goesOn = await onFed({ fed, logProbs: next.logProbs });
      if (!goesOn || fed.some((id) => stops.has(id)) || next.ids.some((id) => id < 0)) return;
      fed = next.ids;
    }
  } catch (error) {
    // As with a run that failed, the sequences stay where they were counted.
    state.positions.set(from);
    throw error;
  }
}
