/** `tarn`: picks the command, and turns every failure into one line and an exit status. */
import module from "node:module";
import { fileURLToPath } from "node:url";
import { EngineError } from "../engine/engine-error.ts";
import { TarnError } from "../contract/errors.ts";
import { UsageError } from "./options.ts";
import { note, writeResult } from "./output.ts";

interface Command {
  readonly summary: string;
  /** Loaded when it is asked for: most commands need a fraction of the program. */
  readonly load: () => Promise<{
    readonly usage: string;
    run(args: readonly string[]): Promise<void>;
  }>;
}

const commands: Readonly<Record<string, Command>> = {
  chat: { summary: "chat in the terminal", load: () => import("./chat.ts") },
  ask: { summary: "one answer about documents, with citations", load: () => import("./ask.ts") },
  serve: {
    summary: "the app in the browser, and the OpenAI-compatible API",
    load: () => import("./serve.ts"),
  },
  logits: {
    summary: "logits and greedy continuations of token ids, as safetensors",
    load: () => import("./logits.ts"),
  },
  tokenize: { summary: "text to token ids", load: () => import("./tokenize.ts") },
  detokenize: { summary: "token ids to text", load: () => import("./detokenize.ts") },
  state: {
    summary: "save a state as a file, or continue from one",
    load: () => import("./state.ts"),
  },
  bench: { summary: "prefill and decode speed", load: () => import("./bench.ts") },
  convert: {
    summary: "a model of safetensors as a GGUF file",
    load: () => import("./convert.ts"),
  },
  pull: { summary: "fetch a model from the hub, or search there", load: () => import("./pull.ts") },
  inspect: { summary: "what is in a model file", load: () => import("./inspect.ts") },
  persona: {
    summary: "what chats can begin with: list, show, add, remove",
    load: () => import("./persona.ts"),
  },
  audit: {
    summary: "whether a chat's answers came about as was written down",
    load: () => import("./audit.ts"),
  },
  doctor: { summary: "what this machine can run", load: () => import("./doctor.ts") },
};

const commonUsage = `Options of every command:
  --json               the result as one JSON value
  --backend NAME       auto (default), webgpu, wasm, reference
  --threads N          threads of the wasm backend (default: all cores)
  --data DIR           data folder (default: TARN_HOME, else the usual place)
  --model PATH         a GGUF file or a model folder (default: the model that ships)
  --quantise q8_0      make the matrices of a safetensors model 8-bit on load
  --kv TYPE            how attention's keys and values are kept: f32 (default), f16`;

function overview(): string {
  const width = Math.max(...Object.keys(commands).map((name) => name.length));
  const list = Object.entries(commands).map(
    ([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`,
  );
  return `Usage: tarn COMMAND [OPTIONS]\n\n${list.join("\n")}\n\n${commonUsage}\n`;
}

async function main([name, ...args]: readonly string[]): Promise<void> {
  if (name === undefined)
    throw new UsageError(`A command is missing: ${Object.keys(commands).join(", ")}.`);
  if (name === "help" || name === "--help" || name === "-h") return writeResult(overview());
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined)
    throw new UsageError(
      `There is no command "${name}"; there are ${Object.keys(commands).join(", ")}.`,
    );
  const { usage, run } = await command.load();
  if (args.includes("--help") || args.includes("-h"))
    return writeResult(`${usage}\n\n${commonUsage}\n`);
  await run(args);
}

interface Failure {
  readonly code: string;
  readonly message: string;
  readonly data: Readonly<Record<string, string | number>>;
}

function describe(error: unknown): Failure {
  if (error instanceof UsageError) return { code: "bad-request", message: error.message, data: {} };
  if (error instanceof EngineError || error instanceof TarnError)
    return { code: error.code, message: error.message, data: error.data };
  return {
    code: "internal",
    message: error instanceof Error ? error.message : String(error),
    data: {},
  };
}

// Compiled code is kept beside the bundle, where who may write may change the bundle, too: half of the start is compiling otherwise.
module.enableCompileCache?.(fileURLToPath(new URL("../compile-cache", import.meta.url)));

// Started by launch.ts, which may be killed: then the result has no reader any more.
process.once("disconnect", () => process.exit(1));
process.channel?.unref();

const args = process.argv.slice(2);
try {
  await main(args);
} catch (error) {
  const failure = describe(error);
  if (process.env["TARN_DEBUG"] !== undefined)
    note(error instanceof Error ? (error.stack ?? error.message) : String(error));
  note(`tarn: ${failure.message.replaceAll("\n", " ")}`);
  if (args.includes("--json")) note(JSON.stringify({ error: failure }));
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
