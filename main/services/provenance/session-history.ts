/**
 * How each session of an engine came to stand where it stands: from which stored state, by which calls. It follows the calls that go by,
 * so that whoever reads and writes need not know of it.
 */
import {
  CHOICE_VERSION,
  type EngineMethod,
  type EngineMethods,
  type ModelInfo,
  type SamplerOptions,
  type SessionId,
} from "../../../models/engine/protocol.ts";
import type { EngineClient } from "../../engine/client.ts";
import type { Derivation, DerivationStep } from "../../store/records.ts";

/** What was done with a session since the last state of it that is stored. */
export type SessionPath = Pick<Derivation, "baseHash" | "base" | "position" | "steps">;

/** Where states are computed, so that states of two devices are told apart. */
export function deviceOf({ device: { backend, name } }: Pick<ModelInfo, "device">): string {
  return `${backend}, ${name}`;
}

export interface SessionHistory {
  /** Null where it is not known: it began with a state of which nothing was written down. */
  of(session: SessionId): SessionPath | null;
  /** The session stands right at this stored state. @param stateHash null where the state has none */
  standsAt(session: SessionId, stateHash: string | null, position: number): void;
}

/** An engine whose sessions are followed. */
export interface FollowedEngine {
  readonly engine: EngineClient;
  readonly history: SessionHistory;
}

const BEGINNING: SessionPath = { baseHash: null, base: 0, position: 0, steps: [] };

/** @param client calls go through to it unchanged */
export function followSessions(client: EngineClient): FollowedEngine {
  const paths = new Map<SessionId, SessionPath | null>();

  function go(session: SessionId, step: DerivationStep): void {
    const path = paths.get(session) ?? null;
    const tokens = "read" in step ? step.read : step.write;
    if (path === null || tokens === 0) return;
    const { position, steps } = path;
    paths.set(session, { ...path, position: position + tokens, steps: [...steps, step] });
  }
  const lose = (session: SessionId): void => void paths.set(session, null);

  const followers: Followers = {
    load: () => paths.clear(),
    unload: () => paths.clear(),
    create: (_, { session }) => paths.set(session, BEGINNING),
    free: ({ session }) => paths.delete(session),
    fork: (input, { session }) => paths.set(session, paths.get(input.session) ?? null),
    // The services say which state it was.
    restore: (_, { session }) => lose(session),
    prefill: ({ session }, { prefilled }) => go(session, { read: prefilled }),
    // In a batch numbers add up in another order; nothing that is kept is read so.
    prefillMany: ({ sessions }) => sessions.forEach(lose),
    generate: ({ session, sampler }, { ids }) =>
      go(session, {
        write: ids.length,
        samplers: [optionsOf(sampler)],
        branch: 0,
        most: ids.length,
        choices: CHOICE_VERSION,
        activations: "int16",
      }),
    generateMany({ sessions, samplers: given }, { branches, activations }) {
      const samplers = given.map(optionsOf);
      const most = Math.max(...branches.map(({ ids }) => ids.length));
      const alike = new Set(sessions.map((session) => JSON.stringify(paths.get(session) ?? null)));
      for (const [branch, session] of sessions.entries()) {
        const write = branches[branch]?.ids.length ?? 0;
        const step = { write, samplers, branch, most, choices: CHOICE_VERSION, activations };
        if (alike.size === 1) go(session, step);
        else lose(session);
      }
    },
  };

  return {
    engine: {
      close: () => client.close(),
      async call(method, input, options) {
        const output = await client.call(method, input, options).catch((cause: unknown) => {
          // What a failed call did to its session nobody knows.
          for (const session of sessionsOf(input)) if (paths.has(session)) lose(session);
          throw cause;
        });
        follow(followers, method, input, output);
        return output;
      },
    },
    history: {
      of: (session) => paths.get(session) ?? null,
      standsAt(session, stateHash, position) {
        if (stateHash === null) lose(session);
        else paths.set(session, { baseHash: stateHash, base: position, position, steps: [] });
      },
    },
  };
}

/** What a call that succeeded did to the sessions. */
type Followers = {
  readonly [M in EngineMethod]?: (
    input: EngineMethods[M]["in"],
    output: EngineMethods[M]["out"],
  ) => unknown;
};

function follow<M extends EngineMethod>(
  followers: Followers,
  method: M,
  input: EngineMethods[M]["in"],
  output: EngineMethods[M]["out"],
): void {
  followers[method]?.(input, output);
}

/** Without what callers carry beside it. */
function optionsOf({
  temperature,
  topK,
  topP,
  minP,
  repetitionPenalty,
  repetitionWindow,
  seed,
}: SamplerOptions): SamplerOptions {
  return { temperature, topK, topP, minP, repetitionPenalty, repetitionWindow, seed };
}

function sessionsOf(input: object): readonly SessionId[] {
  if ("session" in input && typeof input.session === "number") return [input.session];
  return "sessions" in input && Array.isArray(input.sessions) ? input.sessions : [];
}
