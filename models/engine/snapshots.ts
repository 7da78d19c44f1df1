import { decodeSnapshot, encodeSnapshot, type StateOwner } from "../state/snapshot.ts";
import type { LoadedModel } from "./loader.ts";
import { PrefixHash } from "./prefix-hash.ts";
import type { EngineMethods } from "./protocol.ts";
import { RECENT_IDS, type Session } from "./sessions.ts";

/** The session as a portable file; it stays where it is. */
export async function takeSnapshot(
  model: LoadedModel,
  session: Session,
  tokenizerHash: string,
): Promise<EngineMethods["snapshot"]["out"]> {
  const state = {
    position: session.position,
    prefixHash: session.prefix.hex(),
    layout: model.layout,
    slots: await model.backend.readState(session.state, 0),
    logits: session.logits,
  };
  return { bytes: await encodeSnapshot(state, ownerOf(model, tokenizerHash)) };
}

/**
 * A new session where the file's stood.
 * @throws StateError unless the file is sound and belongs to this model and tokenizer
 */
export async function restoreSession(
  model: LoadedModel,
  { bytes, tokenizerHash, recent }: EngineMethods["restore"]["in"],
): Promise<EngineMethods["restore"]["out"]> {
  const { position, prefixHash, slots, logits } = await decodeSnapshot(
    bytes,
    ownerOf(model, tokenizerHash),
  );
  const session = await model.sessions.resume(
    {
      position,
      prefix: PrefixHash.fromHex(prefixHash),
      logits,
      recent: [...recent.subarray(-RECENT_IDS)],
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
