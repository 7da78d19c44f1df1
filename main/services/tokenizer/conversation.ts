/**
 * The tokens that a new turn appends to a conversation. What was read before is never rendered again: its ids are the
 * truth, whatever the template would make of the history today (dates, stripped thinking).
 *
 * A template is rendered with a stand-in history of one question and one answer; what follows the answer is the turn.
 * What people wrote is never searched for control tokens: "<|end|>" in a document is seven characters.
 */
import { TarnError } from "../../contract/errors.ts";
import { ChatTemplate, type ChatMessage, type TemplateTokens } from "./chat-template.ts";
import { cutAtControls, Disguise, encodeSegments, type Segment } from "./segments.ts";
import { MAX_STOP_LENGTH } from "./stop-strings.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** How the stored ids end: nothing is there, an answer without a stop token (cut short), or one with it. */
export type ConversationEnd = "empty" | "open" | "closed";

/** What a new turn puts before the model. */
export interface TurnMessage {
  readonly role: "system" | "document" | "user";
  readonly text: string;
}

/** How a model wants conversations written. */
export class ConversationFormat {
  /** `plain` for a model without a chat template, or with one that cannot be used; see `notice`. */
  readonly kind: "template" | "plain";
  /** A sentence for the user about why the plain form is used though there is a template; else null. */
  readonly notice: string | null;
  /** Strings that end an answer beside the stop tokens; shown text must not contain them. */
  readonly stopStrings: readonly string[];
  /** How a system message is put: in a role of its own, before the user's words where the template has none, or as a paragraph. */
  readonly systemRole: "system" | "user" | "plain";
  /** The token that the template itself writes behind an answer, where it is a control token. */
  readonly endIds: readonly number[];
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate | null;

  private constructor(
    tokenizer: Tokenizer,
    template: ChatTemplate | null,
    notice: string | null,
    { ids, strings }: TurnEnd,
  ) {
    this.kind = template === null ? "plain" : "template";
    this.notice = notice;
    this.stopStrings = strings;
    this.endIds = ids;
    this.systemRole = template === null ? "plain" : saysSystem(template) ? "system" : "user";
    this.#tokenizer = tokenizer;
    this.#template = template;
  }

  /** Tries the template on a first and a second turn; one that fails there is not used at all. */
  static create(
    tokenizer: Tokenizer,
    source: string | null,
    tokens: TemplateTokens,
  ): ConversationFormat {
    if (source === null) return new ConversationFormat(tokenizer, null, null, PLAIN_END);
    try {
      const template = new ChatTemplate(source, tokens);
      const probe: readonly TurnMessage[] = [{ role: "user", text: `${STAND_IN}probe` }];
      renderTurn(template, tokenizer, "empty", probe);
      renderTurn(template, tokenizer, "open", probe);
      return new ConversationFormat(tokenizer, template, null, turnEnd(template, tokenizer));
    } catch (error) {
      if (!(error instanceof TarnError)) throw error;
      return new ConversationFormat(
        tokenizer,
        null,
        `${error.message} Chats use a plain form (“User: …”, “Assistant: …”) instead.`,
        PLAIN_END,
      );
    }
  }

  /**
   * The ids to append to a conversation so that the model answers next.
   * @throws TarnError `bad-request` if the template refuses these messages; nothing is left out silently
   */
  async turnIds(end: ConversationEnd, messages: readonly TurnMessage[]): Promise<Int32Array> {
    if (this.#template === null) return plainTurn(this.#tokenizer, end, messages);
    return encodeSegments(
      this.#tokenizer,
      renderTurn(this.#template, this.#tokenizer, end, messages),
      end === "empty",
    );
  }
}

/** What says that an answer is complete. */
interface TurnEnd {
  readonly ids: readonly number[];
  readonly strings: readonly string[];
}
const STAND_IN = "tarn-stand-in-";
const PLAIN_END: TurnEnd = { ids: [], strings: ["\nUser:"] };

/**
 * What the template writes between an answer and the user's next words: a control token ends a turn; words in front of the
 * user's ("\n\nUser:", as RWKV's models have it) are what a model would go on with, in the user's place.
 */
function turnEnd(template: ChatTemplate, tokenizer: Tokenizer): TurnEnd {
  const [question, answer, next] = [STAND_IN + "question", STAND_IN + "answer", STAND_IN + "next"];
  const rendered = template.render(
    [
      { role: "user", content: question },
      { role: "assistant", content: answer },
      { role: "user", content: next },
    ],
    true,
  );
  const between = textAfter(answer, rendered).split(next)[0] ?? "";
  const [first, ...rest] = cutAtControls(between, tokenizer.controls);
  if (typeof first === "number") return { ids: [first], strings: [] };
  const words = (first ?? "").trimEnd();
  const isWords = rest.length === 0 && /\w/.test(words) && words.length <= MAX_STOP_LENGTH;
  return { ids: [], strings: isWords ? [words] : [] };
}

/** Tries the messages in their own roles, then folds those that the template does not take into the user's. */
function renderTurn(
  template: ChatTemplate,
  tokenizer: Tokenizer,
  end: ConversationEnd,
  messages: readonly TurnMessage[],
): readonly Segment[] {
  const disguise = new Disguise(tokenizer.controls, [
    template.source,
    ...messages.map((message) => message.text),
  ]);
  let failure: TarnError | null = null;
  for (const attempt of waysToSay(messages, disguise, knowsDocuments(template, tokenizer))) {
    try {
      const rendered =
        end === "empty"
          ? template.render(attempt, true)
          : renderLater(template, tokenizer, end, attempt, disguise);
      checkComplete(rendered, attempt);
      return cutAtControls(rendered, tokenizer.controls).map((segment) =>
        typeof segment === "string" ? disguise.uncover(segment) : segment,
      );
    } catch (error) {
      if (!(error instanceof TarnError)) throw error;
      // The first failure is about the messages as they are, the later ones about ways round it.
      failure ??= error;
    }
  }
  throw failure ?? new TarnError("bad-request", "There is nothing to say in this turn.");
}

function waysToSay(
  messages: readonly TurnMessage[],
  disguise: Disguise,
  documentsKnown: boolean,
): readonly (readonly ChatMessage[])[] {
  const own: readonly ChatMessage[] = messages.map(({ role, text }) => ({
    role,
    content: disguise.cover(text),
  }));
  const hasDocument = own.some(({ role }) => role === "document");
  const ways: (readonly ChatMessage[])[] = [];
  if (!hasDocument || documentsKnown) ways.push(own);
  if (hasDocument) ways.push(fold(own, ["document"]));
  if (own.some(({ role }) => role === "system")) ways.push(fold(own, ["document", "system"]));
  return ways;
}

/** What follows the stand-in answer, which is the last thing of the stored conversation. */
function renderLater(
  template: ChatTemplate,
  tokenizer: Tokenizer,
  end: ConversationEnd,
  messages: readonly ChatMessage[],
  disguise: Disguise,
): string {
  const question = disguise.standIn("question");
  const answer = disguise.standIn("answer");
  const history: readonly ChatMessage[] = [
    { role: "user", content: question },
    { role: "assistant", content: answer },
  ];
  const turn = textAfter(answer, template.render([...history, ...messages], true));
  if (end === "open") return turn;
  // The stop token has been read already; what the template writes behind it (a line break) has not.
  const closing = textAfter(answer, template.render(history, false));
  const stop = tokenizer.controls.find(
    (token) => closing.startsWith(token.content) && turn.startsWith(token.content),
  );
  return stop === undefined ? turn : turn.slice(stop.content.length);
}

function textAfter(answer: string, rendered: string): string {
  const [, after, more] = rendered.split(answer);
  if (after === undefined || more !== undefined) {
    throw new TarnError(
      "bad-request",
      "The model's chat template does not show an earlier answer exactly once, so that turns cannot be appended.",
    );
  }
  return after;
}

/** A template may drop roles that it does not know, or move messages before the history. */
function checkComplete(rendered: string, messages: readonly ChatMessage[]): void {
  let at = 0;
  for (const { role, content } of messages) {
    const found = rendered.indexOf(content.trim(), at);
    if (found < 0)
      throw new TarnError(
        "bad-request",
        `The model's chat template leaves out or changes the ${role} message.`,
        { role },
      );
    at = found + content.trim().length;
  }
}

/** Whether the template has a place for a system message. */
function saysSystem(template: ChatTemplate): boolean {
  const messages: readonly ChatMessage[] = [
    { role: "system", content: `${STAND_IN}system` },
    { role: "user", content: `${STAND_IN}probe` },
  ];
  try {
    checkComplete(template.render(messages, true), messages);
    return true;
  } catch (error) {
    if (!(error instanceof TarnError)) throw error;
    return false;
  }
}

/** Whether "document" is a role of the model. Most templates write any role down, though the model never saw it. */
function knowsDocuments(template: ChatTemplate, tokenizer: Tokenizer): boolean {
  return (
    /["']document["']/.test(template.source) ||
    tokenizer.controls.some((token) => token.content.includes("document"))
  );
}

function fold(
  messages: readonly ChatMessage[],
  roles: readonly ChatMessage["role"][],
): readonly ChatMessage[] {
  const kept: ChatMessage[] = [];
  let folded = "";
  for (const message of messages) {
    if (message.role === "document" && roles.includes("document"))
      folded += `<document>\n${message.content}\n</document>\n\n`;
    else if (roles.includes(message.role)) folded += `${message.content}\n\n`;
    else if (message.role === "user") {
      kept.push({ role: "user", content: folded + message.content });
      folded = "";
    } else kept.push(message);
  }
  return folded === "" ? kept : [...kept, { role: "user", content: folded }];
}

/**
 * The form for models without a template, which continue text: `User: …`, blank line, `Assistant:`. System messages
 * and documents come before it as paragraphs, documents under the word "Document:".
 */
async function plainTurn(
  tokenizer: Tokenizer,
  end: ConversationEnd,
  messages: readonly TurnMessage[],
): Promise<Int32Array> {
  const paragraphs = messages.map(({ role, text }) => {
    switch (role) {
      case "system":
        return text.trim();
      case "document":
        return `Document:\n${text.trim()}`;
      case "user":
        return `User: ${text.trim()}`;
    }
  });
  const written = [...paragraphs, "Assistant:"].join("\n\n");
  if (end !== "empty") return tokenizer.encodeText(`\n\n${written}`, { first: false });
  // What the post-processor puts around nothing is the begin token, where the model has one.
  const begin = await tokenizer.encode("", { special: true });
  return concatenate(begin, await tokenizer.encodeText(written, { first: true }));
}

function concatenate(a: Int32Array, b: Int32Array): Int32Array {
  const ids = new Int32Array(a.length + b.length);
  ids.set(a);
  ids.set(b, a.length);
  return ids;
}
