/**
 * The message that stands for what was read elsewhere and whose words are not here: a chat that was imported from a state file without
 * its words begins with one. It has a state and, in place of its ids, UNKNOWN_ID; nothing can be read again from it.
 */
import { TarnError } from "../../contract/errors.ts";
import type { MessageRecord } from "../../store/records.ts";

/** No tokenizer has it. */
const UNKNOWN_ID = -1;

/** @param lastId tells whether an answer was complete; null where that is not known */
export function sealedIds(tokens: number, lastId: number | null): Int32Array {
  const ids = new Int32Array(tokens).fill(UNKNOWN_ID);
  if (lastId !== null && tokens > 0) ids[tokens - 1] = lastId;
  return ids;
}

/** Whether its words may be elsewhere, where its ids are not known. A persona without a prompt has no words either, once it was in a file. */
export function isSealed({ role, text, persona }: MessageRecord): boolean {
  return role === "system" && text === "" && persona === null;
}

/** Whether all can be read again. */
export function areKnown(ids: Int32Array): boolean {
  return !ids.includes(UNKNOWN_ID);
}

/** Those that are known. */
export function knownOnly(ids: Int32Array): Int32Array {
  return ids.filter((id) => id !== UNKNOWN_ID);
}

/** What is told where its state cannot be gone on from. */
export function wordsMissing({ id }: MessageRecord): TarnError {
  return new TarnError(
    "state-foreign",
    "This chat began with a state file without its words, so only the model that it was made with can go on with it, from the memory that was in the file. Nothing was changed. Load that model, or import the file again.",
    { messageId: id },
  );
}
