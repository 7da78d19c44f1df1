import { createInterface } from "node:readline/promises";
import { openConversation, type TerminalConversation } from "./conversation.ts";
import { parse, readCommon, UsageError } from "./options.ts";
import { note, writeJson, writeResult } from "./output.ts";

export const usage = `Usage: tarn chat [--model M] [--persona NAME] [--doc FILE]…

A chat in the terminal: a line is a turn, Ctrl+C stops an answer, Ctrl+D ends. Nothing is kept. With --persona it begins with one of
the data folder's (tarn persona list), and is kept there, as what the persona has read is.
With --json the turns are read from standard input to its end, and the result is the list of messages.`;

export async function run(args: readonly string[]): Promise<void> {
  const { values, positionals } = parse(args, {
    doc: { type: "string", multiple: true },
    persona: { type: "string" },
  });
  const common = readCommon(values);
  if (positionals.length > 0)
    throw new UsageError(`"${positionals[0]}" is not an option; turns are typed into the chat.`);
  const conversation = await openConversation(common, values.doc ?? [], values.persona ?? null);
  try {
    if (common.json) writeJson(await converse(conversation, () => undefined));
    else await converse(conversation, writeResult);
  } finally {
    await conversation.close();
  }
}

interface Turn {
  readonly role: "user" | "assistant";
  readonly text: string;
}

async function converse(
  conversation: TerminalConversation,
  show: (text: string) => void,
): Promise<Turn[]> {
  // The prompt is no part of the result, so it goes beside it.
  const terminal = createInterface({
    input: process.stdin,
    output: process.stderr,
    terminal: process.stdin.isTTY === true,
    prompt: "> ",
  });
  const turns: Turn[] = [];
  let answering: AbortController | null = null;
  let ended = false;
  // Input from a pipe ends long before the last answer is written.
  terminal.on("close", () => {
    ended = true;
  });
  terminal.on("SIGINT", () => {
    if (answering === null) terminal.close();
    else answering.abort();
  });
  terminal.prompt();
  for await (const line of terminal) {
    const text = line.trim();
    if (text !== "") {
      answering = new AbortController();
      const { answer } = await conversation.ask(text, show, answering.signal);
      answering = null;
      turns.push({ role: "user", text }, { role: "assistant", text: answer.text });
      show("\n");
      if (answer.status === "length") note("(The answer was cut: it reached its greatest length.)");
    }
    if (!ended) terminal.prompt();
  }
  return turns;
}
