import {
  decodeSnapshot,
  encodeParts,
  HASH_BYTES,
  PAGE_TOKENS,
  type StateOwner,
} from "../state/snapshot.ts";
import type { LoadedModel } from "./loader.ts";
import { PrefixHash } from "./prefix-hash.ts";
import type { EngineMethods } from "./protocol.ts";
import { RECENT_IDS, type Session } from "./sessions.ts";

/** The session as a portable file, or as what is new of it; it stays where it is. */
export async function takeSnapshot(
  model: LoadedModel,
  session: Session,
  { tokenizerHash, pages }: EngineMethods["snapshot"]["in"],
): Promise<EngineMethods["snapshot"]["out"]> {
  const pageHashes = pages === "all" ? new Uint8Array() : session.pageHashes;
  const from = (pageHashes.length / HASH_BYTES) * PAGE_TOKENS;
  const encoded = await encodeParts(
    {
      position: session.position,
      prefixHash: session.prefix.hex(),
      layout: model.layout,
      slots: await model.backend.readState(session.state, 0, from),
      logits: session.logits,
      pageHashes,
    },
    ownerOf(model, tokenizerHash),
  );
  session.pageHashes = encoded.pageHashes.slice();
  return encoded;
}

/**
 * A new session where the file's stood.
 * @throws StateError unless the file is sound and belongs to this model and tokenizer
 */
export async function restoreSession(
  model: LoadedModel,
  { bytes, tokenizerHash, recent }: EngineMethods["restore"]["in"],
): Promise<EngineMethods["restore"]["out"]> {
  const { position, prefixHash, slots, logits, pageHashes } = await decodeSnapshot(
    bytes,
    ownerOf(model, tokenizerHash),
  );
  const session = await model.sessions.resume(
    {
      position,
      prefix: PrefixHash.fromHex(prefixHash),
      logits,
      recent: [...recent.subarray(-RECENT_IDS)],
      pageHashes,
    },
    slots,
  );
  return { session: session.id, position };
}

function ownerOf({ info, layout, vocabSize }: LoadedModel, tokenizerHash: string): StateOwner {
  return {
    modelHash: info.modelHash,
    tokenizerHash,
    layout,
    vocabSize,
  };
}
