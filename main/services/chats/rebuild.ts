/** Reading chats again behind everything else, one at a time, where their states are of no use to the loaded model. */
import { randomUUID } from "node:crypto";
import type { Handlers } from "../../contract/contract.ts";
import type { RebuildRecord } from "../../store/records.ts";
import { toTarnError } from "../dispatch.ts";
import { fromEngine, isEngineError } from "../engine/engine-errors.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import type { Queue } from "../engine/queue.ts";
import { belongsTo, fits } from "../states/state-service.ts";
import { requireChat } from "./chat-view.ts";
import { keepState, placeOf, type Step } from "./read-path.ts";
import { jobOf, viewOf, type Job, type Place } from "./rebuild-job.ts";
import { keepReached, reachedAt, startOfRebuild } from "./rebuild-place.ts";
import type { TurnContext } from "./turn-context.ts";
import { idsOfMessages } from "./turn-ids.ts";

/** Tokens that are read before the queue is looked at: a turn waits no longer than for one chunk. */
const PIECE = 128;
/** Work that stopping, or a power cut, may cost where a message ends now and then, in ms. */
const KEEP_EVERY = 2000;
/** The same amid a long message, in ms: that state is of no use to anyone else, and the next one replaces it. */
const KEEP_WITHIN = 10_000;
/** Progress is told at most so often, in ms. */
const TELL_EVERY = 200;

export type RebuildHandlers = Pick<
  Handlers,
  "chats.rebuild" | "chats.rebuilds" | "chats.pauseRebuild" | "chats.stopRebuild"
>;

export interface Rebuilder {
  readonly handlers: RebuildHandlers;
  /** Reads this chat again up to its end. What goes wrong is told as a notice. */
  rebuild(chatId: string): Promise<void>;
  /**
   * Goes on with what the model that is ready had begun, or was to begin; what was paused stays so. Then every chat is read again whose
   * end was computed by an older version of the arithmetic, the last used first.
   */
  start(): Promise<void>;
  /** Keeps what was read, and where each reading stands; `start` goes on from there. */
  stop(): Promise<void>;
  /** For a chat that is about to be deleted: lets go of its reading, and keeps the place that it has reached, as `stop` does. */
  putAside(chatId: string): void;
  /** For a chat that was brought back: its reading stands as it did, and goes on unless it was paused. */
  takeUp(chatId: string): Promise<void>;
}

/** @param queue the engine's */
export function createRebuilder(context: TurnContext, queue: Queue): Rebuilder {
  const { store, states, events, engine } = context;
  /** In the order of their coming. */
  const jobs = new Map<string, Job>();
  /** That is being read. */
  let current: Job | null = null;
  let isDraining = false;
  let isStopped = false;
  let work: Promise<void> = Promise.resolve();

  const changed = (): void => events.emit("rebuilds.changed", {});

  async function add(chatId: string, rank: Job["rank"]): Promise<void> {
    const before = jobs.get(chatId);
    if (before !== undefined) {
      if (rank === "asked") before.rank = rank;
      before.wish = "read";
      before.isAside = false;
    }
    const fresh = { id: randomUUID(), chatId, messageId: null, rank, done: 0, total: 0 };
    const job = before ?? jobOf({ ...fresh, addedAt: Date.now() }, "read");
    jobs.set(chatId, job);
    if (job !== current) await note(job, "waiting");
    changed();
    goOn();
  }

  function goOn(): void {
    isStopped = false;
    if (!isDraining) work = drain();
  }

  /** Writes down how far it is, where a model is there that it is read for. */
  async function note(job: Job, status: RebuildRecord["status"]): Promise<void> {
    const model = engine.ready();
    if (model === null) return;
    const { id, chatId, messageId, rank, done, total, addedAt } = job;
    await store.run("saveRebuild", {
      id,
      chatId,
      messageId,
      rank,
      status,
      done,
      total,
      addedAt,
      modelHash: model.info.modelHash,
      tokenizerHash: model.wording.tokenizerHash,
    });
  }

  async function drain(): Promise<void> {
    isDraining = true;
    while (!isStopped) {
      const waiting = [...jobs.values()].filter(({ wish, isAside }) => wish === "read" && !isAside);
      const job = waiting.find(({ rank }) => rank === "asked") ?? waiting[0];
      if (job === undefined) break;
      await run(job);
    }
    isDraining = false;
  }

  async function run(job: Job): Promise<void> {
    current = job;
    job.abort = new AbortController();
    job.keptAt = performance.now();
    changed();
    let isOver = true;
    try {
      isOver = await read(job);
    } catch (cause) {
      tellFailure(job, cause);
      // Its chat was not found any more: that may be undone.
      isOver = !job.isAside;
    }
    if (!isOver && job.wish !== "drop") await leave(job);
    current = null;
    engine.activity(null);
    if (isOver || job.wish === "drop") await end(job);
    else if (job.isAside) jobs.delete(job.chatId);
    changed();
    if (isOver) events.emit("chats.changed", {});
  }

  function tellFailure({ abort }: Job, cause: unknown): void {
    const error = toTarnError(fromEngine(cause));
    // A model that went away takes its sessions along, a chat that was deleted its words: nothing is wrong with that.
    const isGone = isEngineError(cause) && cause.code === "no-session";
    if (abort.signal.aborted || isGone || error.code === "not-found") return;
    events.emit("notice", { kind: "error", text: error.message });
  }

  async function end(job: Job): Promise<void> {
    jobs.delete(job.chatId);
    await free(job);
    await store.run("removeRebuild", { id: job.id });
  }

  /** Keeps the place that it has reached, so that the engine need not hold it, and the next start finds it. */
  async function leave(job: Job): Promise<void> {
    try {
      // Of a model that went away nothing can be kept any more.
      if (job.place !== null && engine.ready() === job.place.model) await keepPlace(job, job.place);
      await note(job, job.wish === "pause" ? "paused" : "waiting");
    } catch (cause) {
      events.emit("notice", { kind: "error", text: toTarnError(fromEngine(cause)).message });
    }
    await free(job);
  }

  async function free(job: Job): Promise<void> {
    const { place } = job;
    job.place = null;
    // The engine may be gone, and its sessions with it.
    if (place !== null)
      await place.model.engine.call("free", { session: place.session }).catch(() => undefined);
  }

  async function keepPlace(job: Job, place: Place): Promise<void> {
    const { model, session, steps, index, at } = place;
    job.messageId = steps[index]?.message.id ?? null;
    await note(job, "reading");
    const reached = { index: index - 1, ahead: at };
    await queue.run(job.rank, () => keepReached(context, model, job.id, session, steps, reached));
    job.keptAt = performance.now();
  }

  /** @returns whether the chat's end is stored now */
  async function read(job: Job): Promise<boolean> {
    const model = await engine.model();
    const place = await begin(job, model);
    if (place === null) return true;
    job.place = place;
    await note(job, "reading");
    const { steps } = place;
    for (; place.index < steps.length; place.index++, place.at = 0) {
      const step = steps[place.index];
      if (step === undefined) continue;
      if (!(await readStep(job, place, step.ids))) return false;
      const behind = steps.slice(0, place.index + 1);
      const isLast = place.index === steps.length - 1;
      // A turn, or somebody else who read it, was faster.
      if (!isLast && (await isStored(model, steps))) return true;
      const isOld = performance.now() - job.keptAt > KEEP_EVERY;
      if (isLast || isOld || place.useless.has(step.message.id)) {
        await queue.run(job.rank, () => keepState(states, model, behind, place.session));
        job.keptAt = performance.now();
      }
    }
    return true;
  }

  /** Null for a chat of which nothing is to be read. */
  async function begin(job: Job, model: LoadedModel): Promise<Place | null> {
    const { tipId } = await requireChat(store, job.chatId);
    if (tipId === null) return null;
    // What is being written, or waits to be, stores its own state.
    const path = (await store.run("pathTo", { messageId: tipId })).filter(
      ({ status }) => status !== "queued" && status !== "reading" && status !== "writing",
    );
    const steps = await queue.run(job.rank, () => idsOfMessages(context, model, job.chatId, path));
    const useless = new Set(
      (await states.onPath(tipId, model.info.modelHash))
        .filter((state) => !belongsTo(state, model))
        .map((state) => state.owner.id),
    );
    const start = await queue.run(job.rank, () => startOfRebuild(context, model, job.id, steps));
    const left = placeOf(steps).position - reachedAt(steps, start);
    // Less is left than there was in all: so much was read before, here or by a turn.
    job.total = Math.max(job.total, left);
    job.done = job.total - left;
    const { session, index, ahead } = start;
    return { model, session, steps, useless, index: index + 1, at: ahead };
  }

  async function isStored(model: LoadedModel, steps: readonly Step[]): Promise<boolean> {
    const id = steps.at(-1)?.message.id ?? "";
    const stored = await states.list({ kind: "message", id }, model.info.modelHash);
    return stored.some((state) => fits(state, model, placeOf(steps)));
  }

  /** @returns whether it was read to its end */
  async function readStep(job: Job, place: Place, ids: Int32Array): Promise<boolean> {
    const { model, session } = place;
    const { signal } = job.abort;
    const mayGoOn = (): boolean => !signal.aborted && engine.ready() === model;
    const isDue = (): boolean => performance.now() - job.keptAt > KEEP_WITHIN;
    while (place.at < ids.length) {
      if (!mayGoOn()) return false;
      await queue.run(job.rank, async () => {
        // One stay in the queue for as long as nobody more urgent wants it.
        while (place.at < ids.length && mayGoOn()) {
          const piece = ids.slice(place.at, place.at + PIECE);
          const began = performance.now();
          const { prefilled } = await model.engine.call(
            "prefill",
            { session, ids: piece, chunk: null, logits: "none" },
            { signal },
          );
          place.at += prefilled;
          count(job, prefilled, performance.now() - began);
          if (queue.isWanted(job.rank) || isDue()) break;
        }
      });
      if (isDue()) await keepPlace(job, place);
    }
    return true;
  }

  function count(job: Job, tokens: number, ms: number): void {
    job.done += tokens;
    job.read += tokens;
    job.ms += ms;
    const tokensPerSecond = tokens / Math.max(ms / 1000, 1e-3);
    engine.activity({ phase: "rebuilding", tokensPerSecond });
    if (tokens === PIECE) engine.measured(tokensPerSecond);
    const now = performance.now();
    if (now - job.told < TELL_EVERY && job.done < job.total) return;
    job.told = now;
    events.emit("rebuild.progress", viewOf(job, job === current));
  }

  /** What was written down of chats that are there, of all or of one. */
  async function goOnWith({ info, wording }: LoadedModel, chatId: string | null): Promise<void> {
    const { modelHash } = info;
    const { tokenizerHash } = wording;
    for (const known of await store.run("listRebuilds", { modelHash, tokenizerHash })) {
      const isMeant = chatId === null || known.chatId === chatId;
      const job = jobOf(known, known.status === "paused" ? "pause" : "read");
      if (isMeant && !jobs.has(job.chatId)) jobs.set(job.chatId, job);
    }
    changed();
    goOn();
  }

  function chosen(chatId: string | null): Job[] {
    return [...jobs.values()].filter(
      (job) => !job.isAside && (chatId === null || job.chatId === chatId),
    );
  }

  async function drop(job: Job): Promise<void> {
    job.wish = "drop";
    job.abort.abort();
    // Who reads it tidies up, behind the chunk that is being read.
    if (job !== current) await end(job);
  }

  const handlers: RebuildHandlers = {
    async "chats.rebuild"({ chatId }) {
      await requireChat(store, chatId);
      await add(chatId, "asked");
      return null;
    },
    async "chats.rebuilds"() {
      return chosen(null).map((job) => viewOf(job, job === current));
    },
    async "chats.pauseRebuild"({ chatId }) {
      for (const job of chosen(chatId)) {
        job.wish = "pause";
        job.abort.abort();
        // Who reads it writes that down with the place, behind the chunk that is being read.
        if (job !== current) await note(job, "paused");
      }
      changed();
      return null;
    },
    async "chats.stopRebuild"({ chatId }) {
      for (const job of chosen(chatId)) await drop(job);
      changed();
      return null;
    },
  };

  return {
    handlers,
    rebuild: (chatId) => add(chatId, "asked"),
    async start() {
      const model = engine.ready();
      if (model === null) return;
      const { modelHash, numericVersions } = model.info;
      const { tokenizerHash } = model.wording;
      await goOnWith(model, null);
      const outdated = await store.run("outdatedChats", {
        modelHash,
        tokenizerHash,
        numericVersions,
      });
      const chats = outdated.filter((chatId) => !jobs.has(chatId));
      if (chats.length === 0) return;
      events.emit("notice", {
        kind: "info",
        text: `This version computes otherwise than the one before. The memory of ${chats.length === 1 ? "one chat" : `${chats.length} chats`} is read again in the background; nothing is lost, and every chat can be used meanwhile.`,
      });
      for (const chatId of chats) await add(chatId, "background");
    },
    async stop() {
      isStopped = true;
      current?.abort.abort();
      await work;
      jobs.clear();
      changed();
    },
    putAside(chatId) {
      const job = jobs.get(chatId);
      if (job === undefined) return;
      job.isAside = true;
      job.abort.abort();
      // Who reads it writes down how far it is, behind the chunk that is being read.
      if (job !== current) jobs.delete(chatId);
      changed();
    },
    async takeUp(chatId) {
      const job = jobs.get(chatId);
      if (job !== undefined) job.isAside = false;
      const model = engine.ready();
      if (model !== null) await goOnWith(model, chatId);
    },
  };
}
