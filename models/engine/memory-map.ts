import { recordPlan } from "../../kernels/plan/recorder.ts";
import type { Executable, StateBuffers } from "../../kernels/spec/backend.ts";
import type { Weight } from "../../kernels/spec/tensor.ts";
import type { Retention } from "../../kernels/spec/retention.ts";
import { tracedValues, tracing, type TracedCall } from "../memory-map/trace.ts";
import { slotValues, stateBytes } from "../state/layer-state.ts";
import { EngineFault } from "./failure.ts";
import type { LoadedModel } from "./loader.ts";
import type { EngineMethods } from "./protocol.ts";
import { checkIds, type RequestContext } from "./run.ts";

/** Host memory that a map may take. Bytes. */
export interface MapRoom {
  /** For states that wait for the way back. */
  readonly states: number;
  /** For what is kept of the tokens of one stretch. */
  readonly rows: number;
}

const ROOM: MapRoom = { states: 512 * 2 ** 20, rows: 256 * 2 ** 20 };

/** A plan that gives the operands of its recurrences. */
interface TracedPlan {
  readonly executable: Executable;
  readonly calls: readonly TracedCall[];
}

/** A recurrence on the way back. */
interface Layer {
  readonly retention: Retention;
  /** (T) */
  readonly shares: Float32Array;
}

/** A stretch of the sequence, and the state before it. */
interface Stretch {
  readonly from: number;
  readonly to: number;
  /** null at the beginning. */
  readonly slots: readonly Float32Array[] | null;
}

/** How far a map has come, in tokens of both ways through the sequence. */
interface MapStep {
  readonly done: number;
  readonly total: number;
}

type MappedLayers = EngineMethods["memoryMap"]["out"]["layers"];

/** A map on its way. Between two steps the engine is free for others; `return` gives up what it holds. */
type MapWork = AsyncGenerator<MapStep, MappedLayers, void>;

/** The maps of one model that were begun and wait to be gone on with. */
export interface MapTable {
  /**
   * Begins a map, or goes on with one that was cancelled; a cancel takes effect between two steps and loses nothing.
   * @throws EngineFault as `followMemory`, and `no-session` for a map that is not there
   */
  run(
    input: EngineMethods["memoryMap"]["in"],
    context: RequestContext,
  ): Promise<EngineMethods["memoryMap"]["out"]>;
  /** Gives up a map that waits. @throws EngineFault `no-session` */
  drop(map: number): Promise<void>;
  release(): Promise<void>;
}

export function createMapTable(model: LoadedModel, room: MapRoom = ROOM): MapTable {
  const waiting = new Map<number, MapWork>();
  let begun = 0;

  function take(map: number): MapWork {
    const work = waiting.get(map);
    if (work === undefined) {
      const message = `There is no memory map ${map} in the engine; it was given up, or the model was unloaded.`;
      throw new EngineFault("no-session", message, { map });
    }
    waiting.delete(map);
    return work;
  }

  return {
    async run({ ids, map: from }, context) {
      const work = from === null ? followMemory(model, ids, room) : take(from);
      for (;;) {
        const next = await work.next();
        if (next.done === true) return { layers: next.value, cancelled: false, map: null };
        context.emit({ type: "progress", ...next.value });
        await context.yield();
        if (!context.signal.aborted) continue;
        const map = from ?? ++begun;
        waiting.set(map, work);
        return { layers: [], cancelled: true, map };
      }
    },
    async drop(map) {
      await take(map).return([]);
    },
    async release() {
      for (const work of waiting.values()) await work.return([]);
      waiting.clear();
    },
  };
}

/**
 * For each token and layer the share of its write that the state still holds behind the last of them.
 * The sequence is read twice: forwards to keep the states before its stretches, then a stretch at a time from the last one
 * back, so that memory has a bound whatever the length.
 * @throws EngineFault `bad-request` for ids that the model does not have, a model without recurrences that can be
 * followed, or a sequence whose states do not fit
 */
async function* followMemory(model: LoadedModel, ids: Int32Array, room: MapRoom): MapWork {
  checkIds(ids, model.vocabSize);
  const traces = createTraces(model);
  const state = model.backend.createState(model.layout, 1);
  try {
    const calls = (await traces.get(1)).calls;
    if (calls.length === 0) {
      throw new EngineFault(
        "bad-request",
        `No layer of ${model.info.name} (${model.info.modelType}) has a memory whose decay can be followed, so there is no map of it.`,
      );
    }
    const retentions = await createRetentions(model, calls);
    const layers = retentions.map(({ slot, retention }) => ({
      name: model.layout[slot]?.name ?? "",
      retention,
      shares: new Float32Array(ids.length),
    }));
    const bounds = cut(model, ids.length, retentions, room);
    const total = ids.length + (bounds.at(-1) ?? 0);
    let done = 0;
    const step = (tokens: number): MapStep => ({ done: (done += tokens), total });
    const stretches: Stretch[] = [];
    yield* readForwards(model, state, ids, { bounds, stretches, step });
    for (let stretch = stretches.pop(); stretch !== undefined; stretch = stretches.pop())
      yield* followBack(model, state, ids, stretch, { traces, layers, step });
    return layers.map(({ name, shares }) => ({ name, shares }));
  } finally {
    state.release();
    traces.release();
  }
}

/** Traced plans by their length. */
function createTraces(model: LoadedModel) {
  const byLength = new Map<number, TracedPlan>();
  return {
    async get(length: number): Promise<TracedPlan> {
      const known = byLength.get(length);
      if (known !== undefined) return known;
      const calls: TracedCall[] = [];
      const plan = recordPlan({ batch: 1, length }, model.layout, (k) =>
        model.record(tracing(k, calls), { logits: "none", phase: "prefill" }),
      );
      const traced = { executable: await model.backend.compile(plan), calls };
      byLength.set(length, traced);
      return traced;
    },
    release(): void {
      for (const { executable } of byLength.values()) executable.release();
    },
  };
}

async function createRetentions(
  model: LoadedModel,
  calls: readonly TracedCall[],
): Promise<{ readonly slot: number; readonly retention: Retention }[]> {
  const retentions: { readonly slot: number; readonly retention: Retention }[] = [];
  for (const { rule, operands, slot } of calls) {
    const values = new Map<Weight, Float32Array>();
    for (const name of rule.weights) {
      const weight = operands[name];
      if (typeof weight === "object" && weight !== null && "dtype" in weight)
        values.set(weight, await model.backend.readVector(weight));
    }
    const retention = rule.create(operands, (weight) => {
      const found = values.get(weight);
      if (found === undefined) throw new EngineFault("internal", "a weight was not read back");
      return found;
    });
    retentions.push({ slot, retention });
  }
  return retentions;
}

/**
 * Where stretches begin: whole chunks, as many as there is room to keep.
 * @throws EngineFault `bad-request` if the states before them do not fit
 */
function cut(
  model: LoadedModel,
  length: number,
  retentions: readonly { readonly retention: Retention }[],
  room: MapRoom,
): number[] {
  const tokenBytes = retentions.reduce((sum, { retention }) => sum + 4 * retention.width, 0);
  const chunks = Math.max(1, Math.floor(room.rows / tokenBytes / model.rowsAtOnce));
  const bounds: number[] = [];
  let bytes = 0;
  for (let at = 0; at < length; at += chunks * model.rowsAtOnce) {
    if (at > 0) bytes += stateBytes(model.layout, at);
    if (bytes > room.states) {
      throw new EngineFault(
        "bad-request",
        `A map of ${length} tokens needs more than ${Math.round(room.states / 2 ** 20)} MB for this model's states; ${at} tokens are possible.`,
        { length, most: at },
      );
    }
    bounds.push(at);
  }
  return bounds;
}

/** Adds the stretches, with the states before them, to `way.stretches`. */
async function* readForwards(
  model: LoadedModel,
  state: StateBuffers,
  ids: Int32Array,
  {
    bounds,
    stretches,
    step,
  }: {
    readonly bounds: readonly number[];
    readonly stretches: Stretch[];
    readonly step: (tokens: number) => MapStep;
  },
): AsyncGenerator<MapStep, void, void> {
  for (const [index, from] of bounds.entries()) {
    const slots = from === 0 ? null : await model.backend.readState(state, 0);
    const to = bounds[index + 1] ?? ids.length;
    stretches.push({ from, to, slots });
    if (index === bounds.length - 1) break;
    for (let at = from; at < to; at += model.rowsAtOnce) {
      const piece = ids.subarray(at, at + model.rowsAtOnce);
      const executable = await model.plans.get(
        { batch: 1, length: piece.length },
        { logits: "none", phase: "prefill" },
      );
      await executable.run(piece, state, false);
      yield step(piece.length);
    }
  }
}

/** Runs a stretch with its operands brought out, then goes back over it. */
async function* followBack(
  model: LoadedModel,
  state: StateBuffers,
  ids: Int32Array,
  { from, to, slots }: Stretch,
  map: {
    readonly traces: ReturnType<typeof createTraces>;
    readonly layers: readonly Layer[];
    readonly step: (tokens: number) => MapStep;
  },
): AsyncGenerator<MapStep, void, void> {
  const { layers } = map;
  const empty = model.layout.map((slot) => new Float32Array(slotValues(slot, 0)));
  await model.backend.writeState(state, 0, slots ?? empty, from);
  const pieces: { readonly at: number; readonly length: number; readonly rows: Float32Array[] }[] =
    [];
  for (let at = from; at < to; at += model.rowsAtOnce) {
    const piece = ids.subarray(at, Math.min(at + model.rowsAtOnce, to));
    const { executable, calls } = await map.traces.get(piece.length);
    const outputs = await executable.run(piece, state, true);
    const rows = layers.map(({ retention }, index) => {
      const call = calls[index];
      if (call === undefined) throw new EngineFault("internal", "a layer was not traced");
      return retention.reduce(tracedValues(call, outputs), piece.length, at);
    });
    pieces.push({ at, length: piece.length, rows });
    yield map.step(piece.length);
  }
  for (const { at, length, rows } of pieces.toReversed()) {
    for (const [index, { retention, shares }] of layers.entries()) {
      const { written, held } = retention.back(rows[index] ?? new Float32Array(), length);
      // What wrote nothing has nothing to be held. Rounding may leave a hair more than was written.
      for (const [t, write] of written.entries())
        shares[at + t] = write > 0 ? Math.min((held[t] ?? 0) / write, 1) : 0;
    }
  }
}
