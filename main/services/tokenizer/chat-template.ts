import { createContext, Script } from "node:vm";
import { Template } from "@huggingface/jinja";
import { TarnError } from "../../contract/errors.ts";

export interface ChatMessage {
  readonly role: "system" | "document" | "user" | "assistant";
  readonly content: string;
}

/** The names of tokens that templates put in by variable. */
export interface TemplateTokens {
  readonly bos: string;
  readonly eos: string;
}

/** Templates in use are up to about 30 KB. */
export const MAX_TEMPLATE_CHARACTERS = 256 * 1024;
/** Rendering takes about a millisecond; a loop over everything must not stop the application. */
const MAX_RENDER_MS = 1000;

/** A model's chat template (Jinja): a program from a stranger, so bounded in size and in time. */
export class ChatTemplate {
  readonly source: string;
  readonly #template: Template;
  readonly #tokens: TemplateTokens;

  /** @throws TarnError `bad-request` if it is too large or cannot be parsed */
  constructor(source: string, tokens: TemplateTokens) {
    if (source.length > MAX_TEMPLATE_CHARACTERS) {
      throw new TarnError(
        "bad-request",
        `The model's chat template has ${source.length} characters; at most ${MAX_TEMPLATE_CHARACTERS} are read.`,
      );
    }
    this.source = source;
    this.#tokens = tokens;
    this.#template = timed("parsed", () => new Template(source));
  }

  /** @throws TarnError `bad-request` if the template refuses the messages, fails, or takes too long */
  render(messages: readonly ChatMessage[], addGenerationPrompt: boolean): string {
    return timed("rendered", () =>
      this.#template.render({
        messages: messages.map(({ role, content }) => ({ role, content })),
        add_generation_prompt: addGenerationPrompt,
        bos_token: this.#tokens.bos,
        eos_token: this.#tokens.eos,
        tools: null,
        documents: null,
      }),
    );
  }
}

const context = createContext({ task: null });
const script = new Script("task()");

/** Runs synchronous work with an end: the timeout of a vm script also ends functions of this realm that it calls. */
function timed<T>(what: string, task: () => T): T {
  const result: { value?: T } = {};
  context["task"] = () => {
    result.value = task();
  };
  try {
    script.runInContext(context, { timeout: MAX_RENDER_MS });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new TarnError(
      "bad-request",
      `The model's chat template could not be ${what}: ${reason}`,
      {},
      error,
    );
  } finally {
    context["task"] = null;
  }
  if (!("value" in result))
    throw new TarnError("bad-request", `The model's chat template could not be ${what}.`);
  return result.value as T;
}
