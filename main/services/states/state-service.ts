/** Snapshots of sessions, on disk and back: of messages, documents, whatever owns them. */
import type { SessionId } from "../../../models/engine/protocol.ts";
import { TarnError } from "../../contract/errors.ts";
import type { StateInfo, StateOwner, StateSizes } from "../../store/records.ts";
import type { SaveResult, StateToSave } from "../../store/states.ts";
import type { Store } from "../../store/store.ts";
import { isEngineError } from "../engine/engine-errors.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import { deviceOf } from "../provenance/session-history.ts";
import type { Events } from "../events.ts";
import type { SettingsService } from "../settings/settings.ts";

/** Where a session stands, as its owner's ids say. */
export interface StatePlace {
  /** Tokens. */
  readonly position: number;
  /** SHA-256 (hex) over those ids, little-endian i32. */
  readonly prefixHash: string;
}

export interface StateService {
  /**
   * Writes down where the session stands, in place of what was there; of keys and values only what is new is copied. A full disk is
   * told, and costs only reading again later.
   * @returns the snapshot's id; null where there was no room, or its owner was removed meanwhile
   */
  save(
    model: LoadedModel,
    session: SessionId,
    owner: StateOwner,
    place: StatePlace,
  ): Promise<number | null>;
  /**
   * The same in two steps: resolves as soon as the session may go on, before anything is written. What cannot be stored by then is left
   * out, since the session has gone on.
   * @returns writes it down, as `save` does; called once
   */
  take(
    model: LoadedModel,
    session: SessionId,
    owner: StateOwner,
    place: StatePlace,
  ): Promise<() => Promise<number | null>>;
  /**
   * Reads the snapshot from disk before the model is there that goes on from it; the next `load` finds it. One at a time.
   */
  readAhead(state: StateInfo): void;
  /**
   * A new session where the snapshot stood. What is damaged is removed, and told once.
   * @param recent the last ids before it, oldest first, for the repetition penalty
   * @returns null where it cannot be continued
   */
  load(model: LoadedModel, state: StateInfo, recent: Int32Array): Promise<SessionId | null>;
  /** An owner's snapshots; by series, the furthest first. @param modelHash null for those of all models */
  list(owner: Pick<StateOwner, "kind" | "id">, modelHash: string | null): Promise<StateInfo[]>;
  /** The snapshots on the way to a message, nearest first. @param modelHash null for those of all models */
  onPath(messageId: string, modelHash: string | null): Promise<StateInfo[]>;
  drop(stateId: number): Promise<void>;
  /** Lets a message that a chat begins with know how the state was computed that it goes on from; the state's owner may go. */
  adopt(state: StateInfo, messageId: string): Promise<void>;
  /** A pinned snapshot is the last to go when there is no room. */
  pin(stateId: number, pinned: boolean): Promise<void>;
  sizes(): Promise<StateSizes>;
  /** Makes the states fit into the budget of the settings. */
  shrink(): Promise<void>;
}

/** Whether the loaded model continues this snapshot: same weights, tokenizer and arithmetic. */
export function belongsTo(state: StateInfo, model: LoadedModel): boolean {
  return (
    state.modelHash === model.info.modelHash &&
    state.tokenizerHash === model.wording.tokenizerHash &&
    model.info.numericVersions.includes(state.numericVersion)
  );
}

/** Whether the snapshot stands at this place, so that the loaded model can go on from it as if it had just read up to there. */
export function fits(state: StateInfo, model: LoadedModel, place: StatePlace): boolean {
  return (
    belongsTo(state, model) &&
    state.position === place.position &&
    state.prefixHash === place.prefixHash
  );
}

type LoadedState = Promise<{ readonly bytes: Uint8Array | null; readonly damaged: boolean }>;

export function createStateService(
  store: Store,
  events: Events,
  settings: Pick<SettingsService, "get">,
): StateService {
  let ahead: { readonly stateId: number; readonly loaded: LoadedState } | null = null;

  async function snapshotOf(
    model: LoadedModel,
    session: SessionId,
    owner: StateOwner,
    place: StatePlace,
    pages: "all" | "new",
  ): Promise<StateToSave> {
    const { tokenizerHash } = model.wording;
    ahead = null;
    const path = model.history.of(session);
    const snapshot = await model.engine.call("snapshot", { session, tokenizerHash, pages });
    const [numericVersion] = model.info.numericVersions;
    if (numericVersion === undefined)
      throw new TarnError("internal", "The engine names no version of its arithmetic.");
    return {
      owner,
      modelHash: model.info.modelHash,
      tokenizerHash,
      numericVersion,
      ...place,
      ...snapshot,
      derivation:
        path === null || path.steps.length === 0 ? null : { ...path, device: deviceOf(model.info) },
      now: Date.now(),
      budget: settings.get().statesBudget,
    };
  }

  /** Hands the state's bytes over: they are empty then. A full disk is told; null. */
  async function write(state: StateToSave): Promise<SaveResult | null> {
    try {
      const { buffer, byteLength } = state.bytes;
      // Megabytes that nobody else has: two copies a turn would be most of what a turn allocates.
      const isWhole = buffer instanceof ArrayBuffer && buffer.byteLength === byteLength;
      return await store.run("saveState", state, isWhole ? [buffer] : []);
    } catch (cause) {
      if (!(cause instanceof TarnError) || cause.code !== "disk-full") throw cause;
      events.emit("notice", {
        kind: "error",
        text: "The disk is full. Nothing was lost. The words are kept, the model's memory of them is not: it will read this again next time. Free some space.",
      });
      return null;
    }
  }

  return {
    async save(model, session, owner, place) {
      const first = await write(await snapshotOf(model, session, owner, place, "new"));
      // Pages that this session gave before may have been evicted since, with all that used them.
      const result =
        first?.outcome === "pages-missing"
          ? await write(await snapshotOf(model, session, owner, place, "all"))
          : first;
      if (result?.outcome !== "saved") return null;
      model.history.standsAt(session, result.stateHash, place.position);
      return result.stateId;
    },
    async take(model, session, owner, place) {
      const taken = await snapshotOf(model, session, owner, place, "new");
      // The head ends with its checksum.
      const head = taken.bytes.subarray(0, taken.headBytes);
      const stateHash = Buffer.from(head.subarray(-32)).toString("hex");
      model.history.standsAt(session, stateHash, place.position);
      return async () => {
        const result = await write(taken);
        if (result?.outcome === "saved") return result.stateId;
        // What comes behind it stands on a state that is not there.
        model.history.standsAt(session, null, place.position);
        return null;
      };
    },
    readAhead({ id }) {
      const loaded = store.run("loadState", { stateId: id, now: Date.now() });
      // Told where it is asked for.
      loaded.catch(() => undefined);
      ahead = { stateId: id, loaded };
    },
    async load(model, state, recent) {
      const read = ahead?.stateId === state.id ? ahead.loaded : null;
      ahead = null;
      const { bytes, damaged } = await (read ??
        store.run("loadState", { stateId: state.id, now: Date.now() }));
      if (bytes !== null) {
        try {
          const { session, position } = await model.engine.call("restore", {
            bytes,
            tokenizerHash: state.tokenizerHash,
            recent,
          });
          if (position === state.position) {
            model.history.standsAt(session, state.stateHash, position);
            return session;
          }
          await model.engine.call("free", { session });
        } catch (cause) {
          if (!isEngineError(cause) || cause.code !== "state") throw cause;
        }
        await store.run("dropState", { stateId: state.id, damaged: true });
      }
      if (bytes !== null || damaged) {
        events.emit("notice", {
          kind: "warning",
          text: "The stored memory of this chat was damaged or from another version. Nothing is lost; it is read again from its words.",
        });
      }
      return null;
    },
    list: ({ kind, id }, modelHash) => store.run("statesOf", { kind, ownerId: id, modelHash }),
    onPath: (messageId, modelHash) => store.run("statesOnPath", { messageId, modelHash }),
    async drop(stateId) {
      await store.run("dropState", { stateId, damaged: false });
    },
    async adopt({ stateHash }, messageId) {
      if (stateHash !== null) await store.run("adoptDerivations", { stateHash, messageId });
    },
    async pin(stateId, pinned) {
      await store.run("pinState", { stateId, pinned });
    },
    sizes: () => store.run("stateSizes", {}),
    async shrink() {
      await store.run("shrinkStates", { budget: settings.get().statesBudget });
    },
  };
}
