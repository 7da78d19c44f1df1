import type { AheadLimits, FedRuns, StateBuffers } from "../../kernels/spec/backend.ts";
import type { Precision } from "../../kernels/spec/op.ts";
import type { RunOptions } from "../arch/architecture.ts";
import { stateBytes } from "../state/layer-state.ts";
import { EngineFault } from "./failure.ts";
import type { LoadedModel } from "./loader.ts";
import type { Session } from "./sessions.ts";

/** Sequences in one run: beyond this the weights are no longer what a run waits for. */
const MOST_SEQUENCES = 16;

/** From so many answers of one request on, its products are what it waits for: 8 bits of activations then nearly halve them. */
const MANY_ANSWERS = 8;

/** Bytes of states side by side, besides those of the sessions themselves. */
const STATE_BYTES = { webgpu: 3 * 2 ** 30, wasm: 2 ** 29, reference: 2 ** 29 } as const;

/** Sequences that run together, their states side by side. */
export interface Batch {
  /**
   * Runs ids[i] on sequence i; all have one length T. Nothing is booked into a session.
   * @returns the logits of each, views of one array: (vocabSize) of its last token, or (T, vocabSize)
   */
  run(ids: readonly Int32Array[], options: RunOptions): Promise<Float32Array[]>;
  /**
   * `Executable.runAhead` of all; nothing is booked either.
   * @returns the logits of each as `run` gives them; null, and nothing done, where the backend runs steps one by one
   */
  runAhead(
    first: Int32Array,
    limits: AheadLimits,
    onFed: (runs: FedRuns) => Promise<boolean>,
  ): Promise<Float32Array[] | null>;
}

/** How activations are rounded where so many answers are written by one request, from its first token to its last. */
export function precisionOf(answers: number): Precision {
  return answers < MANY_ANSWERS ? "int16" : "int8";
}

/** Sequences that may run together, `tokens` after where the furthest session stands; at least one. */
export function batchLimit(
  { backend, layout }: LoadedModel,
  sessions: readonly Session[],
  tokens: number,
): number {
  const furthest = Math.max(...sessions.map(({ position }) => position)) + tokens;
  const fitting = Math.floor(STATE_BYTES[backend.name] / stateBytes(layout, furthest));
  return Math.max(1, Math.min(MOST_SEQUENCES, fitting));
}

/**
 * Works on the sessions' states together, and gives each its own back, also where the work fails. A session that
 * cannot get its state back is freed: it must not go on from an old one.
 */
export async function inBatch<T>(
  model: LoadedModel,
  sessions: readonly Session[],
  work: (batch: Batch) => Promise<T>,
  activations: Precision = "int16",
): Promise<T> {
  const [first] = sessions;
  if (first !== undefined && sessions.length === 1)
    return await work(batchOn(model, first.state, activations));
  const states = await gather(model, sessions);
  try {
    return await work(batchOn(model, states, activations));
  } finally {
    await scatter(model, states, sessions);
  }
}

/** Works on copies of the sessions' states: the sessions stay where they are. */
export async function onCopies<T>(
  model: LoadedModel,
  sessions: readonly Session[],
  work: (batch: Batch) => Promise<T>,
): Promise<T> {
  const states = await gather(model, sessions);
  try {
    return await work(batchOn(model, states, "int16"));
  } finally {
    states.release();
  }
}

async function gather(
  { backend, layout }: LoadedModel,
  sessions: readonly Session[],
): Promise<StateBuffers> {
  const states = backend.createState(layout, sessions.length);
  try {
    for (const [index, { state }] of sessions.entries())
      await backend.copyState(state, 0, states, index);
    return states;
  } catch (error) {
    states.release();
    throw error;
  }
}

async function scatter(
  model: LoadedModel,
  states: StateBuffers,
  sessions: readonly Session[],
): Promise<void> {
  const failures: unknown[] = [];
  for (const [index, session] of sessions.entries()) {
    // One's own, so that the batch's logits can go.
    session.logits = session.logits?.slice() ?? null;
    try {
      await model.backend.copyState(states, index, session.state, 0);
    } catch (error) {
      failures.push(error);
      model.sessions.free(session.id);
    }
  }
  states.release();
  if (failures.length > 0) throw failures[0];
}

function batchOn(
  { plans, vocabSize }: LoadedModel,
  states: StateBuffers,
  activations: Precision,
): Batch {
  function eachOf(outputs: readonly Float32Array[], each: number): Float32Array[] {
    const [logits] = outputs;
    if (logits === undefined)
      throw new EngineFault("internal", "a run gave no logits although they were asked for");
    return Array.from({ length: states.batch }, (_, index) =>
      logits.subarray(index * each, (index + 1) * each),
    );
  }

  return {
    async run(ids, options) {
      const length = ids[0]?.length ?? 0;
      const together = new Int32Array(states.batch * length);
      ids.forEach((piece, index) => together.set(piece, index * length));
      const executable = await plans.get({ batch: states.batch, length, activations }, options);
      const outputs = await executable.run(together, states, true);
      return eachOf(outputs, (options.logits === "all" ? length : 1) * vocabSize);
    },
    async runAhead(first, limits, onFed) {
      const options: RunOptions = { logits: "last", phase: "decode" };
      const shape = { batch: states.batch, length: 1, activations };
      const { runAhead, takesChoices } = await plans.get(shape, options);
      if (runAhead === undefined || !(limits.choices === null || takesChoices)) return null;
      return eachOf(await runAhead(first, states, limits, onFed), vocabSize);
    },
  };
}
