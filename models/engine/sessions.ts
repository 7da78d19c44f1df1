import type { Backend, StateBuffers } from "../../kernels/spec/backend.ts";
import type { StateLayout } from "../../kernels/spec/tensor.ts";
import { EngineFault } from "./failure.ts";
import { PrefixHash } from "./prefix-hash.ts";
import type { SessionId } from "./protocol.ts";

/** One sequence: its recurrent state on the backend, and what belongs to it here. */
export interface Session {
  readonly id: SessionId;
  readonly state: StateBuffers;
  /** Fingerprint of every token that was fed. */
  readonly prefix: PrefixHash;
  /** Tokens that were fed. */
  position: number;
  /** (vocabSize) behind the last token; null while nothing was fed. */
  logits: Float32Array | null;
  /** The last ids that were fed, for the repetition penalty; empty behind a restored state. */
  recent: number[];
  /** SHA-256 of each full page that a snapshot has given away or brought (models/state/snapshot.ts). */
  pageHashes: Uint8Array;
}

/** Where a sequence stands, without its state. */
type Place = Omit<Session, "id" | "state">;

/** More than any `repetitionWindow` looks back. */
export const RECENT_IDS = 8192;

/** Books tokens that the backend has run into the session. */
export function advance(session: Session, ids: Int32Array, logits: Float32Array): void {
  session.prefix.append(ids);
  session.position += ids.length;
  session.logits = logits;
  session.recent.push(...ids.subarray(-RECENT_IDS));
  // Cut rarely: shifting a list of thousands at every token would cost more than it saves.
  if (session.recent.length > 2 * RECENT_IDS) session.recent = session.recent.slice(-RECENT_IDS);
}

export interface SessionTable {
  /** A sequence at its beginning. */
  create(): Session;
  /**
   * A sequence that goes on from the given place, with the state that was there.
   * @throws KernelError `out-of-memory`, `shape`; no session is left behind
   */
  resume(from: Place, slots: readonly Float32Array[]): Promise<Session>;
  /**
   * A second sequence where this one stands.
   * @throws EngineFault `no-session`, KernelError `out-of-memory`; no session is left behind
   */
  fork(id: SessionId): Promise<Session>;
  /** @throws EngineFault `no-session` */
  get(id: SessionId): Session;
  /** @throws EngineFault `no-session` */
  free(id: SessionId): void;
  release(): void;
}

/** @param allocateId gives an id that no session had before, of an earlier model neither */
export function createSessionTable(
  backend: Backend,
  layout: StateLayout,
  allocateId: () => SessionId,
): SessionTable {
  const sessions = new Map<SessionId, Session>();

  function get(id: SessionId): Session {
    const session = sessions.get(id);
    if (session !== undefined) return session;
    throw new EngineFault(
      "no-session",
      `There is no session ${id} in the engine; it was freed, or the model was unloaded.`,
      { session: id },
    );
  }

  /** A new sequence at a place, its state as `fill` leaves it. */
  async function add(
    { prefix, logits, recent, ...place }: Place,
    fill: (state: StateBuffers) => Promise<void>,
  ): Promise<Session> {
    const state = backend.createState(layout, 1);
    try {
      await fill(state);
    } catch (error) {
      state.release();
      throw error;
    }
    return keep(state, {
      ...place,
      prefix: prefix.copy(),
      logits: logits?.slice() ?? null,
      recent: recent.slice(),
    });
  }

  function keep(state: StateBuffers, place: Place): Session {
    const session = { ...place, id: allocateId(), state };
    sessions.set(session.id, session);
    return session;
  }

  return {
    create: () =>
      keep(backend.createState(layout, 1), {
        prefix: PrefixHash.empty(),
        position: 0,
        logits: null,
        recent: [],
        pageHashes: new Uint8Array(),
      }),
    resume: async (from, slots) =>
      await add(from, (state) => backend.writeState(state, 0, slots, from.position)),
    async fork(id) {
      const { state: own, id: _, ...place } = get(id);
      return await add(place, (state) => backend.copyState(own, 0, state, 0));
    },
    get,
    free(id) {
      get(id).state.release();
      sessions.delete(id);
    },
    release() {
      for (const session of sessions.values()) session.state.release();
      sessions.clear();
    },
  };
}
