/** Reading chats again behind everything else, one at a time, where their states are of no use to the loaded model. */
import type { SessionId } from "../../../models/engine/protocol.ts";
import type { Handlers } from "../../contract/contract.ts";
import type { ChatRebuild } from "../../contract/dto.ts";
import { toTarnError } from "../dispatch.ts";
import { fromEngine, isEngineError } from "../engine/engine-errors.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import type { Queue, Rank } from "../engine/queue.ts";
import { belongsTo, fits } from "../states/state-service.ts";
import { requireChat } from "./chat-view.ts";
import { findStart, keepState, placeOf, type Step } from "./read-path.ts";
import type { TurnContext } from "./turn-context.ts";
import { idsOfMessages } from "./turn-ids.ts";

/** Tokens that are read before the queue is looked at: a turn waits no longer than for one chunk. */
const PIECE = 128;
/** Work that stopping, or a power cut, may cost where a message ends now and then, in ms. */
const KEEP_EVERY = 2000;
/** Progress is told at most so often, in ms. */
const TELL_EVERY = 200;

export type RebuildHandlers = Pick<
  Handlers,
  "chats.rebuild" | "chats.rebuilds" | "chats.pauseRebuild" | "chats.stopRebuild"
>;

export interface Rebuilder {
  readonly handlers: RebuildHandlers;
  /** Reads this chat again up to its end. What goes wrong is told as a notice. */
  rebuild(chatId: string): void;
  /** Reads every chat again whose end was computed by an older version of the arithmetic, the last used first. Call it when a model is ready. */
  rebuildOutdated(): Promise<void>;
  /** Gives up all that is under way or waits; what was kept of it is not read again another time. */
  stop(): Promise<void>;
}

/** Where a reading stands that was begun. */
interface Place {
  readonly model: LoadedModel;
  readonly session: SessionId;
  readonly steps: readonly Step[];
  /** Messages whose states are there and of no use. */
  readonly useless: ReadonlySet<string>;
  /** The step that is being read, and how many of its ids were. */
  index: number;
  at: number;
}

interface Job {
  readonly chatId: string;
  rank: Exclude<Rank, "turn">;
  /** What is to become of it; `abort` tells whoever reads it that this changed. */
  wish: "read" | "pause" | "drop";
  abort: AbortController;
  place: Place | null;
  done: number;
  total: number;
  /** Spent reading, in ms. */
  ms: number;
  keptAt: number;
  told: number;
}

/** @param queue the engine's */
export function createRebuilder(context: TurnContext, queue: Queue): Rebuilder {
  const { store, states, events, engine } = context;
  /** In the order of their coming. */
  const jobs = new Map<string, Job>();
  /** That is being read. */
  let current: Job | null = null;
  let isDraining = false;
  let work: Promise<void> = Promise.resolve();

  const changed = (): void => events.emit("rebuilds.changed", {});

  function add(chatId: string, rank: Job["rank"]): void {
    const before = jobs.get(chatId);
    if (before !== undefined) {
      if (rank === "asked") before.rank = rank;
      before.wish = "read";
    } else {
      const abort = new AbortController();
      const nothing = { place: null, done: 0, total: 0, ms: 0, keptAt: 0, told: 0 };
      jobs.set(chatId, { chatId, rank, wish: "read", abort, ...nothing });
    }
    changed();
    if (!isDraining) work = drain();
  }

  async function drain(): Promise<void> {
    isDraining = true;
    for (;;) {
      const waiting = [...jobs.values()].filter(({ wish }) => wish === "read");
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
    }
    current = null;
    engine.activity(null);
    if (isOver || job.wish === "drop") await end(job);
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
    const { place } = job;
    job.place = null;
    // The engine may be gone, and its sessions with it.
    if (place !== null)
      await place.model.engine.call("free", { session: place.session }).catch(() => undefined);
  }

  /** @returns whether the chat's end is stored now */
  async function read(job: Job): Promise<boolean> {
    const model = await engine.model();
    job.place = job.place?.model === model ? job.place : await begin(job, model);
    const { place } = job;
    if (place === null) return true;
    const { steps } = place;
    for (; place.index < steps.length; place.index++, place.at = 0) {
      const step = steps[place.index];
      if (step === undefined) continue;
      if (!(await readStep(job, place, step))) return false;
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
    const { session, index, ahead } = await queue.run(job.rank, () =>
      findStart(context, model, steps, null),
    );
    job.done = 0;
    job.total = placeOf(steps.slice(index + 1)).position - ahead;
    return { model, session, steps, useless, index: index + 1, at: ahead };
  }

  async function isStored(model: LoadedModel, steps: readonly Step[]): Promise<boolean> {
    const id = steps.at(-1)?.message.id ?? "";
    const stored = await states.list({ kind: "message", id }, model.info.modelHash);
    return stored.some((state) => fits(state, model, placeOf(steps)));
  }

  /** @returns whether it was read to its end */
  async function readStep(job: Job, place: Place, { ids }: Step): Promise<boolean> {
    const { model, session } = place;
    const { signal } = job.abort;
    const mayGoOn = (): boolean => !signal.aborted && engine.ready() === model;
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
          if (queue.isWanted(job.rank)) break;
        }
      });
    }
    return true;
  }

  function count(job: Job, tokens: number, ms: number): void {
    job.done += tokens;
    job.ms += ms;
    const tokensPerSecond = tokens / Math.max(ms / 1000, 1e-3);
    engine.activity({ phase: "rebuilding", tokensPerSecond });
    if (tokens === PIECE) engine.measured(tokensPerSecond);
    const now = performance.now();
    if (now - job.told < TELL_EVERY && job.done < job.total) return;
    job.told = now;
    events.emit("rebuild.progress", viewOf(job));
  }

  function viewOf(job: Job): ChatRebuild {
    const { chatId, wish, done, total, ms } = job;
    const tokensPerSecond = ms > 0 ? done / (ms / 1000) : null;
    return {
      chatId,
      status: wish === "pause" ? "paused" : job === current ? "reading" : "waiting",
      done,
      total,
      tokensPerSecond,
      secondsLeft: tokensPerSecond === null ? null : (total - done) / tokensPerSecond,
    };
  }

  function chosen(chatId: string | null): Job[] {
    return [...jobs.values()].filter((job) => chatId === null || job.chatId === chatId);
  }

  async function drop(job: Job): Promise<void> {
    job.wish = "drop";
    job.abort.abort();
    // Who reads it tidies up, behind the chunk that is being read.
    if (job !== current) await end(job);
  }

  const handlers: RebuildHandlers = {
    async "chats.rebuild"({ chatId }) {
      add(chatId, "asked");
      return null;
    },
    async "chats.rebuilds"() {
      return chosen(null).map(viewOf);
    },
    async "chats.pauseRebuild"({ chatId }) {
      for (const job of chosen(chatId)) {
        job.wish = "pause";
        job.abort.abort();
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
    async rebuildOutdated() {
      const model = engine.ready();
      if (model === null) return;
      const chats = await store.run("outdatedChats", {
        modelHash: model.info.modelHash,
        tokenizerHash: model.wording.tokenizerHash,
        numericVersions: model.info.numericVersions,
      });
      if (chats.length === 0) return;
      events.emit("notice", {
        kind: "info",
        text: `This version computes otherwise than the one before. The memory of ${chats.length === 1 ? "one chat" : `${chats.length} chats`} is read again in the background; nothing is lost, and every chat can be used meanwhile.`,
      });
      for (const chatId of chats) add(chatId, "background");
    },
    async stop() {
      for (const job of chosen(null)) await drop(job);
      await work;
    },
  };
}
