/** What can be said of an answer's record without computing anything: whether tokens, words, documents and the stored state are what they were. */
import type { AuditPart, MessagePrint, Provenance } from "../../contract/provenance.ts";
import type { MessageRecord } from "../../store/records.ts";
import type { Store } from "../../store/store.ts";
import { prefixHash, type Step } from "../chats/read-path.ts";
import { hashOfIds } from "../documents/document-readings.ts";
import { hashOfPassage, hashOfText } from "./provenance.ts";

/** Characters of a message that name it. */
const EXCERPT = 48;

/** The first words of a message, as it is named to the user. */
export function excerptOf({ text }: Pick<MessageRecord, "text">): string {
  const line = text.trim().replaceAll(/\s+/g, " ");
  return line.length <= EXCERPT ? line : `${line.slice(0, EXCERPT - 1)}…`;
}

function nameOf(message: Pick<MessageRecord, "role" | "text">): string {
  const words = `“${excerptOf(message)}”`;
  switch (message.role) {
    case "assistant":
      return `the answer ${words}`;
    case "user":
      return `your message ${words}`;
    case "document":
      return `the document ${words}`;
    case "system":
      return `the instructions ${words}`;
  }
}

/** @param steps the path up to the answer, with it, as its tokenizer read it; null where ids are missing. @param prints of all records on the path */
export function tokensPart(
  record: Provenance,
  steps: readonly Step[] | null,
  prints: readonly MessagePrint[],
): AuditPart {
  const part = "tokens";
  if (steps === null)
    return {
      part,
      finding: "differs",
      says: "Tokens that were read are not in the file any more.",
    };
  const own = steps.at(-1);
  const changed = steps.filter(({ message, ids }) => {
    const known = prints.findLast(({ messageId }) => messageId === message.id);
    return known !== undefined && known.ids !== hashOfIds(ids);
  });
  const before = steps.slice(0, -1);
  if (prefixHash(before) === record.prefix && hashOfIds(own?.ids ?? NONE) === record.answer.ids) {
    const says = `The ${record.prefixTokens} tokens before it and its own ${record.answer.tokens} are those that were recorded.`;
    return { part, finding: "holds", says };
  }
  const names = changed.map(({ message }) => nameOf(message));
  const says =
    names.length === 0
      ? "The messages before it are not those that were read."
      : `The stored tokens of ${names.join(" and ")} were changed.`;
  return { part, finding: "differs", says };
}

const NONE = new Int32Array(0);

/** @param path the messages up to the answer, with it */
export function wordsPart(record: Provenance, path: readonly MessageRecord[]): AuditPart {
  const part = "words";
  const prints = [...record.turn, record.answer];
  const changed = prints.flatMap((print) => {
    const message = path.find(({ id }) => id === print.messageId);
    return message === undefined || hashOfText(message.text) === print.text ? [] : [message];
  });
  if (changed.length > 0) {
    const says = `The text of ${changed.map(nameOf).join(" and ")} was changed.`;
    return { part, finding: "differs", says };
  }
  return { part, finding: "holds", says: "What is shown is what was said." };
}

export async function documentsPart(store: Store, record: Provenance): Promise<AuditPart> {
  const part = "documents";
  const problems: Omit<AuditPart, "part">[] = [];
  for (const document of record.documents) {
    const { id: documentId, name, characters } = document;
    const now = await store.run("documentPrint", { documentId, characters });
    if (now === null) {
      const says = `“${name}” was removed from the library, so what it says cannot be looked at.`;
      problems.push({ finding: "unknown", says });
    } else if (now.text !== document.text) {
      const says = `The text of “${name}” was changed since.`;
      problems.push({ finding: "differs", says });
    }
  }
  const changed = await changedPassages(store, record);
  for (const { file, page } of changed) {
    const says = `The passage of “${file}”${page === null ? "" : ` on page ${page}`} does not say any more what was read.`;
    problems.push({ finding: "differs", says });
  }
  const [worst] = problems.toSorted((a, b) => rankOf(a) - rankOf(b));
  if (worst !== undefined)
    return { part, finding: worst.finding, says: problems.map(({ says }) => says).join(" ") };
  const says =
    record.documents.length === 0
      ? "No document was used."
      : `${record.documents.map(({ name }) => `“${name}”`).join(", ")}: as it was${record.passages.length === 0 ? "" : ", with the passages that were read"}.`;
  return { part, finding: "holds", says };
}

async function changedPassages(
  store: Store,
  { passages }: Provenance,
): Promise<Provenance["passages"]> {
  const changed: Provenance["passages"] = [];
  const texts = new Map<string, string | null>();
  for (const passage of passages) {
    const { documentId, start, end } = passage;
    if (!texts.has(documentId))
      texts.set(documentId, await store.run("documentText", { documentId }));
    const text = texts.get(documentId) ?? null;
    if (text !== null && hashOfPassage(text.slice(start, end)) !== passage.text)
      changed.push(passage);
  }
  return changed;
}

function rankOf({ finding }: Pick<AuditPart, "finding">): number {
  return finding === "differs" ? 0 : 1;
}

export async function storedPart(store: Store, { state }: Provenance): Promise<AuditPart> {
  const part = "stored";
  if (state === null) return { part, finding: "unknown", says: "No state was kept behind it." };
  switch (await store.run("checkState", { stateHash: state })) {
    case "sound":
      return {
        part,
        finding: "holds",
        says: "The stored state is, byte for byte, the recorded one.",
      };
    case "damaged":
      return {
        part,
        finding: "differs",
        says: "The stored state is damaged. It will be read again from its words.",
      };
    case "absent":
      return { part, finding: "unknown", says: "Its state is not stored any more, to save room." };
  }
}
