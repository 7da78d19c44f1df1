/** Reading chats again in the background, where their states are of no use to the loaded model. */
import type { SessionId } from "../../../models/engine/protocol.ts";
import { TarnError } from "../../contract/errors.ts";
import { toTarnError } from "../dispatch.ts";
import { fromEngine, isEngineError } from "../engine/engine-errors.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import type { Queue } from "../engine/queue.ts";
import { belongsTo } from "../states/state-service.ts";
import { requireChat } from "./chat-view.ts";
import { findStart, keepState, type Step } from "./read-path.ts";
import type { TurnContext } from "./turn-context.ts";
import { idsOfMessages } from "./turn-ids.ts";

/** Tokens that are read before the queue is looked at: a turn waits no longer for the background than for one chunk. */
const PIECE = 128;

export interface Rebuilder {
  /** Reads this chat again up to its end, behind what the user asks for. What goes wrong is told as a notice. */
  rebuild(chatId: string): void;
  /** Reads every chat again whose end was computed by an older version of the arithmetic, the last used first. Call it when a model is ready. */
  rebuildOutdated(): Promise<void>;
  /** Gives up what is under way; what was read of it is read again another time. */
  stop(): Promise<void>;
}

/** @param queue the engine's */
export function createRebuilder(context: TurnContext, queue: Queue): Rebuilder {
  const { store, states, events, engine } = context;
  let abort = new AbortController();
  let work: Promise<void> = Promise.resolve();

  function start(job: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { signal } = abort;
    work = work
      .then(() => (signal.aborted ? undefined : job(signal)))
      .catch((cause: unknown) => {
        // A model that went away takes its sessions along: nothing is wrong with that.
        if (signal.aborted || (isEngineError(cause) && cause.code === "no-session")) return;
        events.emit("notice", { kind: "error", text: toTarnError(fromEngine(cause)).message });
      });
    return work;
  }

  async function rebuild(chatId: string, model: LoadedModel, signal: AbortSignal): Promise<void> {
    const { tipId } = await requireChat(store, chatId);
    if (tipId === null) return;
    // What is being written, or waits to be, stores its own state.
    const path = (await store.run("pathTo", { messageId: tipId })).filter(
      ({ status }) => status !== "queued" && status !== "reading" && status !== "writing",
    );
    const steps = await queue.run(() => idsOfMessages(context, model, chatId, path));
    const useless = new Set(
      (await states.onPath(tipId, model.info.modelHash))
        .filter((state) => !belongsTo(state, model))
        .map((state) => state.owner.id),
    );
    const begin = await queue.run(() => findStart(context, model, steps, null));
    try {
      for (let index = begin.index + 1; index < steps.length; index++) {
        const ahead = index === begin.index + 1 ? begin.ahead : 0;
        const read = await readStep(model, begin.session, steps[index], ahead, signal);
        if (!read) return;
        const behind = steps.slice(0, index + 1);
        const isWorthKeeping =
          index === steps.length - 1 || useless.has(steps[index]?.message.id ?? "");
        if (isWorthKeeping) await queue.run(() => keepState(states, model, behind, begin.session));
      }
    } finally {
      engine.activity(null);
      await model.engine.call("free", { session: begin.session }).catch(() => undefined);
    }
    events.emit("chats.changed", {});
  }

  /** @returns whether it was read to its end */
  async function readStep(
    model: LoadedModel,
    session: SessionId,
    step: Step | undefined,
    ahead: number,
    signal: AbortSignal,
  ): Promise<boolean> {
    const ids = step?.ids ?? new Int32Array();
    for (let at = ahead; at < ids.length;) {
      at = await queue.run(async () => {
        let next = at;
        // One stay in the queue for as long as nobody else wants it.
        while (next < ids.length && !signal.aborted && engine.ready() === model) {
          const piece = ids.subarray(next, next + PIECE);
          const began = performance.now();
          const { prefilled } = await model.engine.call(
            "prefill",
            { session, ids: piece.slice(), chunk: null, logits: "none" },
            { signal },
          );
          next += prefilled;
          const tokensPerSecond = prefilled / Math.max((performance.now() - began) / 1000, 1e-3);
          engine.activity({ phase: "rebuilding", tokensPerSecond });
          if (prefilled === PIECE) engine.measured(tokensPerSecond);
          if (queue.isWanted()) break;
        }
        return next;
      });
      if (signal.aborted || engine.ready() !== model) return false;
    }
    return true;
  }

  return {
    rebuild(chatId) {
      void start(async (signal) => rebuild(chatId, await engine.model(), signal));
    },
    rebuildOutdated: () =>
      start(async (signal) => {
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
        for (const chatId of chats) {
          if (signal.aborted || engine.ready() !== model) return;
          await rebuild(chatId, model, signal).catch((cause: unknown) => {
            // Deleted while it waited its turn.
            if (!(cause instanceof TarnError && cause.code === "not-found")) throw cause;
          });
        }
      }),
    async stop() {
      abort.abort();
      await work;
      abort = new AbortController();
    },
  };
}
