import { readFile } from "node:fs/promises";
import { z } from "zod";
import { exampleSchema, type Persona, type PersonaText } from "../contract/dto.ts";
import { TarnError } from "../contract/errors.ts";
import type { Services } from "../services/app.ts";
import { openData } from "./data.ts";
import { parse, readCommon, required, UsageError } from "./options.ts";
import { writeJson, writeResult } from "./output.ts";

export const usage = `Usage: tarn persona list
       tarn persona show NAME
       tarn persona add NAME --prompt TEXT [--examples FILE.json] [--temperature T]
       tarn persona remove NAME

Personas: a system prompt, with examples if wished, that chats begin with (tarn chat --persona NAME, and in the app). Its state is
read once; a chat begins from there. --examples is [{"user": "…", "assistant": "…"}, …]. Adding one with a name that there is
changes it. Tarn must not be open on the same data folder.`;

export async function run(args: readonly string[]): Promise<void> {
  const { values, positionals } = parse(args, {
    prompt: { type: "string" },
    examples: { type: "string" },
    temperature: { type: "string" },
  });
  const common = readCommon(values);
  const [verb, name, ...rest] = positionals;
  if (rest.length > 0) throw new UsageError(`"${rest[0]}" is one argument too many.`);
  if (verb !== "list" && verb !== "show" && verb !== "add" && verb !== "remove")
    throw new UsageError("Say list, show NAME, add NAME or remove NAME.");
  if ((name === undefined) !== (verb === "list"))
    throw new UsageError(verb === "list" ? "list takes no name." : `${verb} needs a name.`);
  const wanted = name ?? "";
  const text =
    verb === "add"
      ? await textFrom(wanted, values.prompt, values.examples, values.temperature)
      : null;
  const data = await openData(common);
  try {
    const { services } = data;
    if (verb !== "remove") await data.model();
    if (text !== null) {
      const before = await find(services, wanted);
      const added =
        before === null
          ? await services.handlers["personas.add"](text)
          : await services.handlers["personas.change"]({ ...text, personaId: before.id });
      return tell(common.json, await whenRead(services, added), describe);
    }
    if (verb === "list") {
      const all = await services.handlers["personas.list"]({});
      return tell(common.json, all, (list) => list.map((one) => `${summary(one)}\n`).join(""));
    }
    const persona = await find(services, wanted);
    if (persona === null) throw noPersona(wanted);
    if (verb === "show") return tell(common.json, persona, describe);
    await services.handlers["personas.remove"]({ personaId: persona.id });
    tell(common.json, { removed: persona.name }, ({ removed }) => `${removed} was removed.\n`);
  } finally {
    await data.close();
  }
}

/** By its name. @throws TarnError where several have it */
export async function find(services: Services, name: string): Promise<Persona | null> {
  const all = await services.handlers["personas.list"]({});
  const [found, ...others] = all.filter((one) => one.name === name || one.id === name);
  if (others.length > 0)
    throw new TarnError(
      "bad-request",
      `Several personas are called "${name}"; give the id of one.`,
    );
  return found ?? null;
}

export function noPersona(name: string): TarnError {
  return new TarnError("not-found", `There is no persona "${name}". tarn persona list names them.`);
}

function tell<T>(json: boolean, value: T, words: (value: T) => string): void {
  if (json) writeJson(value);
  else writeResult(words(value));
}

async function textFrom(
  name: string,
  prompt: string | undefined,
  examples: string | undefined,
  temperature: string | undefined,
): Promise<PersonaText> {
  const number = temperature === undefined ? null : Number(temperature);
  if (number !== null && !(temperature !== "" && number >= 0 && number <= 5))
    throw new UsageError(`--temperature is "${temperature}"; it must be a number from 0 to 5.`);
  return {
    name,
    prompt: examples === undefined ? required("--prompt", prompt) : (prompt ?? ""),
    examples: examples === undefined ? [] : await examplesFrom(examples),
    temperature: number,
  };
}

async function examplesFrom(file: string): Promise<PersonaText["examples"]> {
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error);
    throw new TarnError("not-found", `${file} could not be read: ${why}`, { file });
  });
  const found = z.array(exampleSchema).max(32).safeParse(parsed(text));
  if (found.success) return found.data;
  throw new UsageError(`${file} is not a list of {"user": "…", "assistant": "…"}, of 32 at most.`);
}

/** Null for what is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    if (cause instanceof SyntaxError) return null;
    throw cause;
  }
}

/** Its state is read in the background; a command waits for it, as it ends with what it began. */
async function whenRead(services: Services, persona: Persona): Promise<Persona> {
  if (services.engine.ready() === null || persona.cost?.tokens === 0) return persona;
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = services.events.subscribe((name) => {
    if (name === "personas.changed" || name === "notice") resolve();
  });
  const now = async (): Promise<Persona> => (await find(services, persona.id)) ?? persona;
  try {
    const already = await now();
    if (already.cost?.tokens === 0) return already;
    await promise;
    return await now();
  } finally {
    stop();
  }
}

function summary({ name, tokens, cost, stateBytes }: Persona): string {
  const parts = [
    tokens === null ? null : `${tokens} tokens`,
    cost === null ? null : cost.tokens === 0 ? "read" : "not read yet",
    `${stateBytes} bytes of state`,
  ];
  return `${name}: ${parts.filter((part) => part !== null).join(", ")}`;
}

const ROLES = {
  system: "The model has a role for it.",
  user: "The model's chat template has no place for a system prompt: it stands at the beginning of the first message.",
  plain:
    "The model has no chat template: the prompt stands before the first message, as a paragraph of its own.",
} as const;

function describe(persona: Persona): string {
  const { prompt, examples, temperature, role } = persona;
  return [
    summary(persona),
    ...(role === null ? [] : [ROLES[role]]),
    ...(temperature === null ? [] : [`Temperature ${temperature}`]),
    ...(prompt === "" ? [] : ["", prompt]),
    ...examples.flatMap(({ user, assistant }) => ["", `User: ${user}`, `Assistant: ${assistant}`]),
    "",
  ].join("\n");
}
