/** The record of how an answer came about, from what is known when it ends. */
import { createHash } from "node:crypto";
import type { MessagePrint, Provenance } from "../../contract/provenance.ts";
import type { MessageRecord } from "../../store/records.ts";
import type { Store } from "../../store/store.ts";
import { prefixHash, type Step } from "../chats/read-path.ts";
import { hashOfIds } from "../documents/document-readings.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import type { SessionPath } from "./session-history.ts";

/** SHA-256 (hex) of a text's UTF-8. */
export function hashOfText(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** Of a passage: white space between sentences is joined as it stands, so that of it only the place counts. */
export function hashOfPassage(text: string): string {
  return hashOfText(text.replaceAll(/\s+/g, " "));
}

/** Where a turn began without reading. */
export type Begun = Provenance["begun"];

/** @param path of the session that the turn goes on with, before anything is read */
export function begunAt(path: SessionPath | null, tokens: number): Begun {
  return { tokens, state: path === null || path.steps.length > 0 ? null : path.baseHash };
}

/** An answer that has ended. */
export interface EndedAnswer {
  /** With its last text. */
  readonly step: Step;
  /** How its session came to stand behind it; null where that is not known. */
  readonly path: SessionPath | null;
  /** Of the state that was kept behind it; null for none. */
  readonly stateHash: string | null;
}

/** @param steps the path before the answer, from the root */
export async function provenanceOf(
  store: Store,
  model: LoadedModel,
  steps: readonly Step[],
  begun: Begun,
  { step, path, stateHash }: EndedAnswer,
): Promise<Provenance> {
  const { info, wording } = model;
  const since = steps.findLastIndex(({ message }) => message.role === "assistant") + 1;
  const last = path?.steps.at(-1);
  const sampler = last !== undefined && "write" in last ? last.samplers[last.branch] : undefined;
  const persona = steps[0]?.message.persona ?? null;
  return {
    at: Date.now(),
    prefixTokens: steps.reduce((sum, { ids }) => sum + ids.length, 0),
    prefix: prefixHash(steps),
    answer: printOf(step),
    turn: steps.slice(since).map(printOf),
    begun,
    state: stateHash,
    model: { hash: info.modelHash, name: info.name === "" ? model.entry.name : info.name },
    tokenizer: wording.tokenizerHash,
    numericVersion: info.numericVersions[0] ?? 0,
    backend: info.device.backend,
    device: info.device.name,
    sampler: sampler ?? null,
    persona: persona === null ? null : { id: persona.id, name: persona.name },
    documents: await documentsOf(
      store,
      steps.map(({ message }) => message),
    ),
    passages: steps
      .slice(since)
      .flatMap(({ message }) => message.passages)
      .map(({ text, ...place }) => ({ ...place, text: hashOfPassage(text) })),
  };
}

/** What a message's tokens and words are. */
export function printOf({ message, ids }: Step): MessagePrint {
  const { id: messageId, role, text } = message;
  return { messageId, role, tokens: ids.length, ids: hashOfIds(ids), text: hashOfText(text) };
}

/** Every document of the path, as whole where it was read so. */
async function documentsOf(
  store: Store,
  path: readonly MessageRecord[],
): Promise<Provenance["documents"]> {
  const used = new Map<string, Provenance["documents"][number]>();
  for (const { role, documents } of path)
    for (const { id, name, until } of documents) {
      if (used.get(id)?.way === "whole") continue;
      const print = await store.run("documentPrint", { documentId: id, characters: until });
      const way = role === "document" ? "whole" : "search";
      used.set(id, { id, name, way, ...(print ?? { file: "", characters: 0, text: "" }) });
    }
  return [...used.values()];
}
