/**
 * Reading documents in the background, one at a time, behind whatever a chat wants of the engine: once as a whole, with its state kept
 * on the way, and then each chunk by itself. Killed at any moment, it goes on from the last state that was kept and ends in the same one:
 * where reading stops is a function of the document alone, and the engine cuts what lies between into chunks of constant size.
 */
import type { SessionId } from "../../../models/engine/protocol.ts";
import type { DocumentReading } from "../../contract/dto.ts";
import type { ReadingRecord } from "../../store/records.ts";
import type { Store } from "../../store/store.ts";
import { toTarnError } from "../dispatch.ts";
import { fromEngine, isEngineError } from "../engine/engine-errors.ts";
import type { EngineService, LoadedModel } from "../engine/engine-service.ts";
import type { Queue } from "../engine/queue.ts";
import type { Events } from "../events.ts";
import type { StateService } from "../states/state-service.ts";
import {
  wholeSeries,
  type DocumentReadings,
  type ReadChunk,
  type ReadingPlan,
} from "./document-readings.ts";
import { readByCuts } from "./read-by-cuts.ts";
import { isKept } from "./reading-plan.ts";

/** Progress is told at most so often, in ms. */
const TELL_EVERY = 200;
/** Ids that a repetition penalty may look back on. */
const RECENT_IDS = 8192;

/** What is known of a reading that is not in the store. */
type Live = Pick<DocumentReading, "done" | "tokensPerSecond" | "secondsLeft">;

export interface Digester {
  /** Reads the document as soon as those before it are read, or goes on with it. Resolves at once. */
  read(documentId: string): Promise<void>;
  /** Stops behind the chunk that is being read, and keeps what was read. */
  pause(documentId: string): Promise<void>;
  /** Gives up the document, which is about to be removed or changed. */
  leave(documentId: string): Promise<void>;
  /** How far it is with the document that is being read. */
  live(documentId: string): Live | null;
  /** Goes on with what was waiting. Call it when a model is ready. */
  start(): void;
  /** Keeps what was read; `start` goes on from there. */
  stop(): Promise<void>;
}

export interface DigestContext {
  readonly store: Store;
  readonly events: Events;
  readonly engine: EngineService;
  readonly states: StateService;
  readonly readings: DocumentReadings;
}

/** @param queue the engine's */
export function createDigester(context: DigestContext, queue: Queue): Digester {
  const { store, events, engine, readings } = context;
  let current: { readonly documentId: string; readonly abort: AbortController } | null = null;
  /** What the one that is being read becomes when it is stopped. */
  let afterStop: "paused" | "waiting" = "waiting";
  let live: Live | null = null;
  let isStopped = true;
  let work: Promise<void> = Promise.resolve();

  async function save(record: ReadingRecord): Promise<void> {
    await store.run("saveReading", record);
    events.emit("documents.changed", {});
  }

  async function recordOf(model: LoadedModel, documentId: string): Promise<ReadingRecord | null> {
    const all = await store.run("listReadings", readings.keyOf(model, documentId));
    return all.find((one) => one.documentId === documentId) ?? null;
  }

  async function nextWaiting(model: LoadedModel): Promise<ReadingRecord | null> {
    const all = await store.run("listReadings", readings.keyOf(model, ""));
    return all.find(({ status }) => status === "waiting") ?? null;
  }

  function goOn(): void {
    work = work.then(drain).catch((cause: unknown) => {
      events.emit("notice", { kind: "error", text: toTarnError(fromEngine(cause)).message });
    });
  }

  async function drain(): Promise<void> {
    for (;;) {
      const model = engine.ready();
      if (isStopped || model === null) return;
      const record = await nextWaiting(model);
      if (record === null) return;
      await digest(model, record);
    }
  }

  async function digest(model: LoadedModel, waiting: ReadingRecord): Promise<void> {
    const abort = new AbortController();
    current = { documentId: waiting.documentId, abort };
    afterStop = "waiting";
    const meter = new Meter(waiting, (next) => {
      live = next;
      events.emit("document.progress", {
        documentId: waiting.documentId,
        ...next,
        total: meter.total,
      });
    });
    try {
      const plan = await readings.plan(model, waiting.documentId);
      const chunks = await readings.chunks(model, waiting.documentId);
      meter.total = plan.ids.length + chunks.reduce((sum, { ids }) => sum + ids.length, 0);
      await save({ ...waiting, status: "reading", total: meter.total, error: null });
      const kept = async (): Promise<void> => {
        const { total, done, ms } = meter;
        const record = { ...waiting, status: "reading", total, done, ms, error: null } as const;
        // Shown after a crash; until then `live` is newer.
        await store.run("saveReading", record);
      };
      const task = { queue, model, meter, kept, signal: abort.signal };
      const whole = await readWhole(context, task, plan);
      const isRead = whole && (await readChunks(context, task, plan, chunks));
      const status = isRead ? "read" : afterStop;
      const { total, done, ms } = meter;
      if (engine.ready() === model || status === "waiting")
        await save({ ...waiting, status, total, done, ms, error: null });
    } catch (cause) {
      const error = toTarnError(fromEngine(cause));
      // Removed meanwhile, or its model went away: nothing is wrong with that.
      const isGone = error.code === "not-found" || engine.ready() !== model;
      const status = isGone ? "waiting" : "failed";
      const { total, done, ms } = meter;
      await save({ ...waiting, status, total, done, ms, error: isGone ? null : error.message });
      if (isEngineError(cause) && cause.code === "device-lost") void engine.restart();
    } finally {
      current = null;
      live = null;
      engine.activity(null);
    }
  }

  async function stopCurrent(as: "paused" | "waiting"): Promise<void> {
    afterStop = as;
    current?.abort.abort();
    await work;
  }

  return {
    async read(documentId) {
      const model = await engine.model();
      const before = await recordOf(model, documentId);
      if (before?.status === "reading" || before?.status === "read") return;
      await save({
        ...readings.keyOf(model, documentId),
        status: "waiting",
        done: before?.done ?? 0,
        total: before?.total ?? 0,
        ms: before?.ms ?? 0,
        error: null,
        queuedAt: Date.now(),
      });
      isStopped = false;
      goOn();
    },
    async pause(documentId) {
      if (current?.documentId === documentId) {
        await stopCurrent("paused");
        goOn();
        return;
      }
      const model = await engine.model();
      const record = await recordOf(model, documentId);
      if (record?.status === "waiting") await save({ ...record, status: "paused" });
    },
    async leave(documentId) {
      if (current?.documentId !== documentId) return;
      await stopCurrent("paused");
      goOn();
    },
    live: (documentId) => (current?.documentId === documentId ? live : null),
    start() {
      isStopped = false;
      // Tokens, readings and states are those of the model that is loaded.
      events.emit("documents.changed", {});
      goOn();
    },
    async stop() {
      isStopped = true;
      await stopCurrent("waiting");
    },
  };
}

/** Tokens and time of one reading. */
class Meter {
  total = 0;
  done = 0;
  ms: number;
  readonly #tell: (live: Live) => void;
  #told = 0;
  /** Read now, as opposed to read before. */
  #fresh = 0;
  #freshMs = 0;

  constructor({ ms }: Pick<ReadingRecord, "ms">, tell: (live: Live) => void) {
    this.ms = ms;
    this.#tell = tell;
  }

  /** Tokens that need not be read. */
  skip(tokens: number): void {
    this.done += tokens;
  }

  add(tokens: number, ms: number): void {
    this.done += tokens;
    this.ms += ms;
    this.#fresh += tokens;
    this.#freshMs += ms;
    const now = performance.now();
    if (now - this.#told < TELL_EVERY && this.done < this.total) return;
    this.#told = now;
    const tokensPerSecond = this.tokensPerSecond;
    const secondsLeft =
      tokensPerSecond === null ? null : (this.total - this.done) / tokensPerSecond;
    this.#tell({ done: this.done, tokensPerSecond, secondsLeft });
  }

  /** Null before anything was read. */
  get tokensPerSecond(): number | null {
    return this.#freshMs > 0 ? this.#fresh / (this.#freshMs / 1000) : null;
  }
}

/** What all parts of one reading share. */
interface Task {
  readonly queue: Queue;
  readonly model: LoadedModel;
  readonly meter: Meter;
  readonly signal: AbortSignal;
  /** A state was kept: what is done so far survives the program. */
  kept(): Promise<void>;
}

/**
 * Feeds ids[from, to) to the session, behind whatever else the engine is wanted for.
 * @returns where the session stands: `to`, or before it at the end of a chunk where it was stopped
 */
async function readBetween(
  { engine }: Pick<DigestContext, "engine">,
  { queue, model, meter, signal }: Task,
  session: SessionId,
  ids: Int32Array,
  from: number,
  to: number,
): Promise<number> {
  let at = from;
  while (at < to && !signal.aborted && engine.ready() === model) {
    at += await queue.run("background", async () => {
      if (signal.aborted || engine.ready() !== model) return 0;
      const makeWay = new AbortController();
      let told = 0;
      let began = performance.now();
      const count = (done: number): void => {
        const now = performance.now();
        meter.add(done - told, now - began);
        told = done;
        began = now;
      };
      const { tokensPerSecond } = meter;
      engine.activity({ phase: "reading", tokensPerSecond });
      const { prefilled } = await model.engine.call(
        "prefill",
        { session, ids: ids.slice(at, to), chunk: null, logits: "none" },
        {
          signal: AbortSignal.any([signal, makeWay.signal]),
          onEvent(event) {
            if (event.type === "progress") count(event.done);
            if (queue.isWanted("background")) makeWay.abort();
          },
        },
      );
      count(prefilled);
      const speed = meter.tokensPerSecond;
      if (speed !== null) engine.measured(speed);
      if (queue.isWanted("background")) engine.activity(null);
      return prefilled;
    });
  }
  return at;
}

/** @returns whether it was read to its end; what was read is kept either way */
async function readWhole(context: DigestContext, task: Task, plan: ReadingPlan): Promise<boolean> {
  const { states, readings } = context;
  const { queue, model, meter, kept } = task;
  const { ids, key } = plan;
  const found = await readings.nearest(model, key.documentId, ids);
  const begin = await queue.run("background", async () => {
    const recent = ids.slice(
      Math.max((found?.position ?? 0) - RECENT_IDS, 0),
      found?.position ?? 0,
    );
    const session = found === null ? null : await states.load(model, found, recent);
    if (session !== null) return { session, position: found?.position ?? 0 };
    return { session: (await model.engine.call("create", {})).session, position: 0 };
  });
  const { session } = begin;
  meter.skip(begin.position);
  try {
    const position = await readByCuts(context, model, session, plan, begin.position, {
      feed: (from, to) => readBetween(context, task, session, ids, from, to),
      async exclusively(job) {
        const result = await queue.run("background", job);
        await kept();
        return result;
      },
    });
    if (position < ids.length) return false;
    await tidy(states, model, plan);
    return true;
  } finally {
    // The engine may be gone, and its sessions with it.
    await model.engine.call("free", { session }).catch(() => undefined);
  }
}

/** Removes what other cuts, or a shorter version of the text, have left behind. */
async function tidy(states: StateService, model: LoadedModel, plan: ReadingPlan): Promise<void> {
  const { cuts, key } = plan;
  const lasting = new Set(cuts.filter((_, index) => isKept(index, cuts.length)));
  const owner = { kind: "document", id: key.documentId } as const;
  for (const { id, owner: of, position } of await states.list(owner, model.info.modelHash))
    if (of.series === wholeSeries(key) && !lasting.has(position)) await states.drop(id);
}

/** @returns whether all of them have their state */
async function readChunks(
  context: DigestContext,
  task: Task,
  { key }: ReadingPlan,
  chunks: readonly ReadChunk[],
): Promise<boolean> {
  const { readings } = context;
  const { queue, model, meter, kept } = task;
  for (const chunk of chunks) {
    const { ids, state } = chunk;
    if (state !== null) {
      meter.skip(ids.length);
      continue;
    }
    const { session } = await queue.run("background", () => model.engine.call("create", {}));
    try {
      const at = await readBetween(context, task, session, ids, 0, ids.length);
      if (at < ids.length) {
        // What was read of a chunk is too little to keep.
        meter.skip(-at);
        return false;
      }
      await queue.run("background", () => readings.keepChunk(model, session, key, chunk));
      await kept();
    } finally {
      await model.engine.call("free", { session }).catch(() => undefined);
    }
  }
  return true;
}
