/** What chats need of a model's tokenizer and chat template: from words to token ids and back. */
import type {
  ConversationFormat,
  ConversationEnd,
  TurnMessage,
} from "../tokenizer/conversation.ts";
import type { LoadedTokenizer } from "../tokenizer/load-tokenizer.ts";
import { StopStrings } from "../tokenizer/stop-strings.ts";
import { StreamDecoder } from "../tokenizer/stream-decoder.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

/** Tokens at the end of a shared beginning that other words may merge with, where no control token closes it. */
const MERGE_MARGIN = 8;

/** One model's way of writing a conversation as token ids. */
export interface Wording {
  /** What states are bound to, beside the model: SHA-256 (hex) of the tokenizer. */
  readonly tokenizerHash: string;
  /** Token ids that end an answer: by the model's configuration, its tokenizer and its chat template. */
  readonly stopIds: readonly number[];
  /** How the model's chat template puts a system message. */
  readonly systemRole: ConversationFormat["systemRole"];
  countTokens(text: string): Promise<number>;
  /** The text that ids stand for, control tokens left out. */
  decode(ids: Int32Array): Promise<string>;
  /** The ids to append so that the model answers next. @param before the ids read so far, in pieces */
  turn(before: readonly Int32Array[], messages: readonly TurnMessage[]): Promise<Int32Array>;
  /** The beginning of such a turn that is the same whatever the user will say behind these messages: read once, asked often. */
  opening(before: readonly Int32Array[], messages: readonly TurnMessage[]): Promise<Int32Array>;
  /** An answer that another model wrote, as text to be read. */
  answer(text: string): Promise<Int32Array>;
  /** Token ids of an answer into text, as far as a stop string. */
  startStream(): AnswerStream;
}

/** The text of an answer as it comes. */
export interface AnswerStream {
  /** The text that this token completes: "" while a character, or what may become a stop string, is unfinished. Calls must not overlap. */
  push(id: number): Promise<string>;
  /** What was held back, at the end. */
  end(): Promise<string>;
  /** True once a stop string was written: the answer is complete. */
  readonly stopped: boolean;
}

/** @param configured the token ids that end an answer by the model's configuration */
export function createWording(
  { tokenizer, format }: LoadedTokenizer,
  configured: readonly number[],
): Wording {
  const stopIds = [...new Set([...configured, ...tokenizer.endIds, ...format.endIds])];
  const turn = (
    before: readonly Int32Array[],
    messages: readonly TurnMessage[],
  ): Promise<Int32Array> => format.turnIds(endOf(before, stopIds), messages);
  const controls = new Set(tokenizer.controls.map((token) => token.id));
  return {
    tokenizerHash: tokenizer.hash,
    stopIds,
    systemRole: format.systemRole,
    countTokens: async (text) => (await tokenizer.encodeText(text, { first: false })).length,
    decode: (ids) => tokenizer.decode(ids, { skipSpecial: true }),
    turn,
    async opening(before, messages) {
      const [one, other] = await Promise.all(
        ["a", "0"].map((text) => turn(before, [...messages, { role: "user", text }])),
      );
      if (one === undefined || other === undefined) return new Int32Array(0);
      const shared = one.subarray(0, commonLength(one, other));
      const last = shared.at(-1);
      const closed = last !== undefined && controls.has(last);
      return shared.slice(0, closed ? shared.length : Math.max(shared.length - MERGE_MARGIN, 0));
    },
    answer: (text) => tokenizer.encodeText(text, { first: false }),
    startStream: () => new TrimmedStream(tokenizer, format),
  };
}

/** How many ids two lists begin with together. */
export function commonLength(a: Int32Array, b: Int32Array): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

function endOf(before: readonly Int32Array[], stopIds: readonly number[]): ConversationEnd {
  const last = before.findLast((ids) => ids.length > 0)?.at(-1);
  if (last === undefined) return "empty";
  return stopIds.includes(last) ? "closed" : "open";
}

/** Models write a space before their first word; the ids keep it, the text need not. */
class TrimmedStream implements AnswerStream {
  readonly #decoder: StreamDecoder;
  readonly #stops: StopStrings;
  #begun = false;
  #stopped = false;

  constructor(tokenizer: Tokenizer, format: ConversationFormat) {
    this.#decoder = new StreamDecoder(tokenizer, { skipSpecial: true });
    this.#stops = new StopStrings(format.stopStrings);
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  async push(id: number): Promise<string> {
    const piece = await this.#decoder.push(id);
    return piece === null ? "" : this.#take(piece);
  }

  async end(): Promise<string> {
    const rest = this.#take(await this.#decoder.flush());
    return this.#stopped ? rest : rest + this.#trim(this.#stops.flush());
  }

  #take(piece: string): string {
    const { text, stopped } = this.#stops.push(piece);
    this.#stopped ||= stopped;
    return this.#trim(text);
  }

  #trim(text: string): string {
    const shown = this.#begun ? text : text.trimStart();
    this.#begun ||= shown !== "";
    return shown;
  }
}
