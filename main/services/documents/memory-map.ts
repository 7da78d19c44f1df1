/** The memory map of a document: for each word the share of what it wrote that the model still holds behind the last one. */
import type { EngineMethods } from "../../../models/engine/protocol.ts";
import type { Handlers } from "../../contract/contract.ts";
import type { MemoryMap } from "../../contract/dto.ts";
import { TarnError } from "../../contract/errors.ts";
import { fromEngine } from "../engine/engine-errors.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import type { Queue } from "../engine/queue.ts";
import type { DigestContext } from "./digest.ts";
import { findMarks } from "./token-marks.ts";

/** Maps that are kept; each takes 4 bytes a token and layer. */
const KEPT = 4;
/** Characters that are painted at a time. */
const MAX_CHARACTERS = 200_000;

/** What the engine told of a document. */
interface Mapped {
  readonly ids: Int32Array;
  readonly layers: readonly { readonly name: string; readonly shares: Float32Array }[];
}

export interface MemoryMaps {
  readonly handlers: Pick<
    Handlers,
    "documents.mapMemory" | "documents.stopMapping" | "documents.memory"
  >;
  /** Gives up the map that is being made: nobody waits for it when the model or the program goes. */
  stop(): void;
}

/** @param queue the engine's; a map makes way for chats, and goes on behind them */
export function createMemoryMaps(
  { store, events, engine, readings }: Omit<DigestContext, "states">,
  queue: Queue,
): MemoryMaps {
  const maps = new Map<string, Mapped>();
  let current: AbortController | null = null;

  function keyOf(model: LoadedModel, documentId: string): string {
    return Object.values(readings.keyOf(model, documentId)).join(" ");
  }

  /** Makes way for chats and goes on behind them. @throws TarnError `cancelled` when it was stopped */
  async function compute(model: LoadedModel, documentId: string): Promise<Mapped> {
    const { ids } = await readings.plan(model, documentId);
    const abort = new AbortController();
    current?.abort();
    current = abort;
    for (let map: number | null = null; ;) {
      const result = await queue.run("asked", () => follow(model, documentId, { ids, map }, abort));
      if (!result.cancelled) return { ids, layers: result.layers };
      ({ map } = result);
      if (abort.signal.aborted) {
        // The engine may be gone, and the map with it.
        if (map !== null) await model.engine.call("dropMap", { map }).catch(() => undefined);
        throw new TarnError(
          "cancelled",
          "The memory map was stopped. Nothing was changed; ask for it again.",
          { documentId },
        );
      }
    }
  }

  /** From its beginning, or from where it made way, until it is done, stopped, or somebody more urgent comes. */
  function follow(
    model: LoadedModel,
    documentId: string,
    input: EngineMethods["memoryMap"]["in"],
    { signal }: AbortController,
  ): Promise<EngineMethods["memoryMap"]["out"]> {
    const makeWay = new AbortController();
    return model.engine.call("memoryMap", input, {
      signal: AbortSignal.any([signal, makeWay.signal]),
      onEvent(event) {
        if (event.type !== "progress") return;
        const { done, total } = event;
        events.emit("document.mapping", { documentId, done, total });
        if (queue.isWanted("asked")) makeWay.abort();
      },
    });
  }

  const handlers: MemoryMaps["handlers"] = {
    async "documents.mapMemory"({ documentId }) {
      const model = await engine.model();
      const key = keyOf(model, documentId);
      if (maps.has(key)) return null;
      try {
        maps.set(key, await compute(model, documentId));
      } catch (cause) {
        throw fromEngine(cause);
      }
      for (const oldest of maps.keys()) {
        if (maps.size <= KEPT) break;
        maps.delete(oldest);
      }
      return null;
    },

    async "documents.stopMapping"() {
      current?.abort();
      return null;
    },

    async "documents.memory"({ documentId, start, end, layer }): Promise<MemoryMap | null> {
      const model = engine.ready();
      const mapped = model === null ? undefined : maps.get(keyOf(model, documentId));
      if (model === null || mapped === undefined) return null;
      const text = await store.run("documentText", { documentId });
      if (text === null)
        throw new TarnError("not-found", "This document is not there any more.", { documentId });
      const shares = sharesOf(mapped, layer);
      const until = Math.min(end, start + MAX_CHARACTERS, text.length);
      const marks = await findMarks(model.wording.decode, mapped.ids, text, [
        start,
        ...wordEnds(text, start, until),
      ]);
      const spans: { start: number; end: number; share: number }[] = [];
      for (const [index, { tokens, offset }] of marks.entries()) {
        const before = marks[index - 1] ?? { tokens: firstToken(marks), offset: start };
        if (offset <= start || tokens <= before.tokens) continue;
        const share = mean(shares.subarray(before.tokens, tokens));
        spans.push({ start: Math.max(before.offset, start), end: offset, share });
      }
      return { layers: mapped.layers.map(({ name }) => name), spans };
    },
  };
  return { handlers, stop: () => current?.abort() };
}

/** Of the first words of a document there is no mark before them: they are one token at least. */
function firstToken(marks: readonly { readonly tokens: number }[]): number {
  return Math.max((marks[0]?.tokens ?? 1) - 1, 0);
}

/** (T) of one layer, or the mean over all. @throws TarnError `bad-request` for a layer that the model does not have */
function sharesOf({ ids, layers }: Mapped, layer: number | null): Float32Array {
  if (layer !== null) {
    const one = layers[layer];
    if (one !== undefined) return one.shares;
    throw new TarnError("bad-request", `The map has ${layers.length} layers, not ${layer + 1}.`, {
      layer,
    });
  }
  return Float32Array.from(
    { length: ids.length },
    (_, t) => layers.reduce((sum, { shares }) => sum + (shares[t] ?? 0), 0) / layers.length,
  );
}

/** Where the words between two offsets end. */
function wordEnds(text: string, start: number, end: number): number[] {
  return [...text.slice(start, end).matchAll(/\S+/g)].map(
    (word) => start + word.index + word[0].length,
  );
}

function mean(values: Float32Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
