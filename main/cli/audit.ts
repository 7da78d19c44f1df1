import { TarnError } from "../contract/errors.ts";
import type { Audit, AuditPart } from "../contract/provenance.ts";
import { openData } from "./data.ts";
import { parse, readCommon, UsageError } from "./options.ts";
import { note, writeJson, writeResult } from "./output.ts";

export const usage = `Usage: tarn audit CHAT

Computes again how every answer of a chat (its id, or its title) came about, call by call, and compares with what was written
down: tokens, words, documents, the stored state, the answer, and the state behind it, bit by bit. Exit status 0 when all of it
holds, 1 when something differs, 3 when something could not be looked at. Tarn must not be open on the same data folder.`;

const MARKS: Readonly<Record<AuditPart["finding"], string>> = {
  holds: "holds",
  differs: "DIFFERS",
  unknown: "not known",
};
/** Beside 0, and 1 and 2 that every command ends with. */
const EXIT = { holds: 0, differs: 1, unknown: 3 } as const;

export async function run(args: readonly string[]): Promise<void> {
  const { values, positionals } = parse(args, {});
  const common = readCommon(values);
  const [wanted, ...rest] = positionals;
  if (wanted === undefined || rest.length > 0)
    throw new UsageError("Name one chat, by its id or its title.");
  const data = await openData(common);
  try {
    const chats = await data.services.handlers["chats.list"]({ query: "" });
    const found = chats.filter(({ id, title }) => id === wanted || title === wanted);
    const [chat, ...others] = found;
    if (chat === undefined)
      throw new TarnError("not-found", `There is no chat "${wanted}" in this data folder.`);
    if (others.length > 0)
      throw new TarnError(
        "bad-request",
        `${found.length} chats are called "${wanted}". Give the id of one: ${found.map(({ id }) => id).join(", ")}.`,
      );
    await data.model();
    const audit = await data.services.handlers["chats.audit"]({ chatId: chat.id, messageId: null });
    if (common.json) writeJson(audit);
    else writeResult(report(chat.title, audit));
    process.exitCode = EXIT[audit.finding];
  } finally {
    await data.close();
  }
  if (process.exitCode === EXIT.unknown) note("Not everything could be looked at.");
}

function report(title: string, { finding, tokens, messages }: Audit): string {
  const lines = messages.flatMap((message) => [
    `“${message.excerpt}”: ${MARKS[message.finding]}`,
    ...message.parts.map(
      ({ part, finding: one, says }) => `  ${part.padEnd(9)}  ${MARKS[one].padEnd(9)}  ${says}`,
    ),
  ]);
  return `${title}: ${MARKS[finding]} (${messages.length} ${messages.length === 1 ? "answer" : "answers"}, ${tokens} tokens run)\n${lines.join("\n")}\n`;
}
