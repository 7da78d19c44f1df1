/** Personas as token ids: how a conversation begins with one, and what comes behind it. */
import type { Example } from "../../contract/dto.ts";
import { TarnError } from "../../contract/errors.ts";
import type { Step } from "../chats/read-path.ts";
import { commonLength, type Wording } from "../engine/wording.ts";
import type { TurnMessage } from "../tokenizer/conversation.ts";

/** What a model is told of a persona. */
export interface PersonaWords {
  readonly prompt: string;
  readonly examples: readonly Example[];
}

/** The ids that a conversation begins with: the prompt as a system message, then the examples as turns that were. */
export async function personaIds(
  wording: Wording,
  { prompt, examples }: PersonaWords,
): Promise<Int32Array> {
  const lead = leadOf(prompt);
  if (examples.length === 0) {
    // As far as it is the same whether a document comes next or the user's words.
    const document: TurnMessage = { role: "document", text: "-" };
    const [words, read] = await Promise.all([
      wording.opening([], lead),
      wording.opening([], [...lead, document]),
    ]);
    return words.slice(0, commonLength(words, read));
  }
  const pieces: Int32Array[] = [];
  for (const { user, assistant } of examples) {
    const question: TurnMessage = { role: "user", text: user };
    pieces.push(await wording.turn(pieces, pieces.length === 0 ? [...lead, question] : [question]));
    pieces.push(await wording.answer(assistant));
  }
  return Int32Array.from(pieces.flatMap((ids) => [...ids]));
}

function leadOf(prompt: string): TurnMessage[] {
  const text = prompt.trim();
  return text === "" ? [] : [{ role: "system", text }];
}

/**
 * What comes right behind a persona without examples belongs to the same turn: the ids of both, less what the persona has.
 * @param begin the ids of a conversation that begins with these messages
 * @returns null where nothing of the kind stands before
 * @throws TarnError `internal` where the template moves what it was given before
 */
export async function behindPersona(
  steps: readonly Step[],
  begin: (lead: readonly TurnMessage[]) => Promise<Int32Array>,
): Promise<Int32Array | null> {
  const [step, ...others] = steps;
  const persona = step?.message.persona ?? null;
  if (step === undefined || persona === null || persona.examples.length > 0 || others.length > 0)
    return null;
  const ids = await begin(leadOf(step.message.text));
  if (commonLength(step.ids, ids) === step.ids.length) return ids.slice(step.ids.length);
  throw new TarnError(
    "internal",
    `This could not be put behind the persona “${persona.name}” with this model. Nothing was lost; begin a chat without it.`,
    { persona: persona.name },
  );
}
