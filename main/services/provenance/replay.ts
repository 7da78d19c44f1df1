/** States computed again, in the way in which they were computed: from the beginning, or from one that is stored, call by call. */
import { CHOICE_VERSION, isGreedy, type SessionId } from "../../../models/engine/protocol.ts";
import { TarnError } from "../../contract/errors.ts";
import type { Derivation, DerivationStep } from "../../store/records.ts";
import type { Store } from "../../store/store.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import type { Queue } from "../engine/queue.ts";
import { deviceOf } from "./session-history.ts";

/** Ids that a repetition penalty may look back on. */
const RECENT_IDS = 8192;

/** A way to a state. */
export interface Route {
  /** Of a stored state that it begins with; null: with an empty sequence, or where the last replay ended. */
  readonly stored: string | null;
  /** In order; each begins where the one before ends. */
  readonly links: readonly Derivation[];
}

/** Why there is no way to a state. */
export type NoRoute = "unknown" | "other-device" | "other-choices";

/** What came out. */
export interface Replayed {
  /** Index of the first link whose state has other bits than it had; null where all are the same. */
  readonly differsAt: number | null;
  /** What the model wrote in the last call, where that was writing; else null. */
  readonly written: Int32Array | null;
}

export interface Replay {
  /** @param reached the state that the replay before ended at; null for none */
  route(stateHash: string, reached: string | null): Promise<Route | NoRoute>;
  /**
   * @param ids of the whole path: what is read
   * @throws TarnError `cancelled`
   */
  run(route: Route, ids: Int32Array): Promise<Replayed>;
  /** Frees what it holds. */
  end(): Promise<void>;
}

/** Whether this program chooses the tokens of an answer as the one that wrote it. */
function isRepeatable(step: DerivationStep): boolean {
  if ("read" in step || step.choices === CHOICE_VERSION) return true;
  // Of the likeliest tokens, the first has been taken ever since.
  return step.samplers.every(isGreedy);
}

/** Tokens that a route runs. */
export function tokensOf({ links }: Route): number {
  return links.reduce((sum, { base, position }) => sum + position - base, 0);
}

/** @param onTokens told of tokens as they are run */
export function createReplay(
  store: Store,
  model: LoadedModel,
  queue: Queue,
  signal: AbortSignal,
  onTokens: (tokens: number) => void,
): Replay {
  const { engine, wording } = model;
  /** Right at the state that was reached last. */
  let held: { readonly stateHash: string; readonly session: SessionId } | null = null;

  /** One call of the engine, behind whoever is more urgent. @throws TarnError `cancelled` */
  async function exclusively<T>(job: () => Promise<T>): Promise<T> {
    if (signal.aborted)
      throw new TarnError("cancelled", "The audit was stopped. Nothing was changed.");
    return queue.run("asked", job);
  }
  const free = (session: SessionId): Promise<unknown> =>
    engine.call("free", { session }).catch(() => undefined);

  async function begin({ stored, links }: Route, ids: Int32Array): Promise<SessionId> {
    const from = links[0]?.baseHash ?? stored;
    if (held !== null && held.stateHash === from) {
      const { session } = held;
      held = null;
      return session;
    }
    if (stored === null) return (await exclusively(() => engine.call("create", {}))).session;
    const found = await store.run("stateByHash", { stateHash: stored });
    const { bytes } =
      found === null
        ? { bytes: null }
        : await store.run("loadState", { stateId: found.stateId, now: Date.now() });
    if (bytes === null)
      throw new TarnError("not-found", "A stored state went away during the audit. Audit again.");
    const { tokenizerHash } = wording;
    const position = found?.position ?? 0;
    const recent = ids.slice(Math.max(position - RECENT_IDS, 0), position);
    const input = { bytes, tokenizerHash, recent };
    return (await exclusively(() => engine.call("restore", input))).session;
  }

  /** Feeds ids, a chunk at a time where somebody waits. */
  async function read(session: SessionId, ids: Int32Array): Promise<void> {
    for (let at = 0; at < ids.length;) {
      const rest = ids.slice(at);
      const makeWay = new AbortController();
      const input = { session, ids: rest, chunk: null, logits: "none" } as const;
      const { prefilled } = await exclusively(() =>
        engine.call("prefill", input, {
          signal: AbortSignal.any([signal, makeWay.signal]),
          onEvent: () => void (queue.isWanted("asked") && makeWay.abort()),
        }),
      );
      at += prefilled;
      onTokens(prefilled);
    }
  }

  /** @returns the session behind the branch that is meant, and what it wrote */
  async function write(
    session: SessionId,
    { samplers, branch, most, activations }: Extract<DerivationStep, { readonly write: number }>,
  ): Promise<{ readonly session: SessionId; readonly ids: Int32Array }> {
    const { stopIds } = wording;
    const [sampler, ...others] = samplers;
    if (sampler !== undefined && others.length === 0) {
      const input = { session, sampler, stopIds, maxTokens: most, keepLogits: false };
      const { ids } = await exclusively(() => engine.call("generate", input));
      onTokens(ids.length);
      return { session, ids };
    }
    const sessions = [session];
    try {
      while (sessions.length < samplers.length)
        sessions.push((await exclusively(() => engine.call("fork", { session }))).session);
      const input = { sessions, samplers, stopIds, maxTokens: most, activations };
      const { branches } = await exclusively(() => engine.call("generateMany", input));
      const [meant, ids] = [sessions[branch], branches[branch]?.ids];
      if (meant === undefined || ids === undefined)
        throw new TarnError("internal", "The engine gave no end to a branch.");
      onTokens(ids.length);
      sessions.splice(branch, 1);
      return { session: meant, ids };
    } finally {
      for (const left of sessions) await free(left);
    }
  }

  return {
    async route(stateHash, reached) {
      const links: Derivation[] = [];
      const here = deviceOf(model.info);
      for (let at: string | null = stateHash; at !== null && at !== reached;) {
        const link: Derivation | null = await store.run("derivationOf", { stateHash: at });
        const isHere = link?.device === here;
        if (link !== null && isHere && link.steps.every(isRepeatable)) {
          links.unshift(link);
          at = link.baseHash;
          continue;
        }
        // How it came about is not known, or cannot be done here: what is stored of it can be gone on from.
        const isSound = links.length > 0 && (await store.run("checkState", { stateHash: at }));
        if (isSound === "sound") return { stored: at, links };
        if (link === null) return "unknown";
        return isHere ? "other-choices" : "other-device";
      }
      return { stored: null, links };
    },
    async run(route, ids) {
      const { links } = route;
      let session = await begin(route, ids);
      let written: Int32Array | null = null;
      let differsAt: number | null = null;
      try {
        for (const [index, link] of links.entries()) {
          let at = link.base;
          for (const step of link.steps) {
            if ("read" in step) {
              await read(session, ids.subarray(at, at + step.read));
              written = null;
              at += step.read;
            } else {
              const result = await write(session, step);
              ({ session } = result);
              written = result.ids;
              at += step.write;
            }
          }
          const { tokenizerHash } = wording;
          const own = session;
          const { bytes, headBytes } = await exclusively(() =>
            engine.call("snapshot", { session: own, tokenizerHash, pages: "new" }),
          );
          const hash = Buffer.from(bytes.subarray(headBytes - 32, headBytes)).toString("hex");
          if (hash !== link.stateHash) differsAt ??= index;
        }
        const last = links.at(-1);
        if (held !== null) await free(held.session);
        held = last === undefined ? null : { stateHash: last.stateHash, session };
        if (held === null) await free(session);
        return { differsAt, written };
      } catch (cause) {
        await free(session);
        throw cause;
      }
    },
    async end() {
      if (held !== null) await free(held.session);
      held = null;
    },
  };
}
