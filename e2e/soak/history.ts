/** A random history: chats with their branches, edits and documents, in a world that ends at random moments. */
import type { Chat, Message } from "../../main/contract/dto.ts";
import { idsOf } from "./derivation.ts";
import type { Program } from "./process.ts";
import type { World } from "./world.ts";

const LETTERS = "abcdefghijklmnopqrstuvwxyz    .,".split("");
/** Tokens that are continued in the end, each with its logits compared. */
const CONTINUED = 64;

export interface Outcome {
  readonly seed: number;
  /** Null where all was right. */
  readonly failure: string | null;
  /** Tokens that the continued state had read before. */
  readonly position: number;
  /** Tokens that the last turn read beyond its own: 0 where its state was stored. */
  readonly readAgain: number;
}

/** Numbers in [0, 1) that a seed determines: mulberry32. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What one user does, by a seed. */
export class History {
  readonly seed: number;
  readonly #random: () => number;
  readonly #world: World;
  readonly #chats: string[] = [];
  readonly #documents: string[] = [];
  /** User's words that were acknowledged, by message: they must be there after any kill. */
  readonly #acknowledged = new Map<string, string>();
  #pending: { readonly chatId: string; readonly messageId: string } | null = null;

  constructor(seed: number, world: World) {
    this.seed = seed;
    this.#random = randomOf(seed);
    this.#world = world;
  }

  /** Does something, without waiting for the answer. */
  async act(): Promise<void> {
    this.#pending = await this.#begin();
  }

  async settle(): Promise<void> {
    if (this.#pending !== null) await this.#settled(this.#pending.chatId, this.#pending.messageId);
    this.#pending = null;
  }

  /** After a kill. @throws Error when words that were acknowledged are not in the file */
  check(): void {
    this.#pending = null;
    const texts = this.#world.texts();
    for (const [id, text] of this.#acknowledged)
      if (texts.get(id) !== text) throw new Error("words that were acknowledged are gone");
  }

  /** Goes on with a chat, and compares with a run that was never interrupted. */
  async judge(replay: Program): Promise<Outcome> {
    const chat = await this.#anyChat();
    await this.#world.continueWith(CONTINUED);
    const answer = await this.#send(chat.id, chat.messages.at(-1)?.id ?? null);
    const message = await this.#settled(answer.chatId, answer.messageId);
    const { messages } = await this.#world.call("chats.get", { chatId: chat.id });
    const question = messages.find(({ id }) => id === message.parentId);
    const opening = messages.find(({ id }) => id === question?.parentId);
    const own = (question?.tokens ?? 0) + (opening?.role === "document" ? opening.tokens : 0);
    const truth = this.#world.idsOnPath(question?.id ?? "");
    const outcome = (failure: string | null): Outcome => ({
      seed: this.seed,
      failure,
      position: truth.length,
      readAgain: (message.prefilled ?? NaN) - own,
    });
    const continuation = (await this.#world.continuations()).findLast(
      (derivation) =>
        JSON.stringify(idsOf(derivation).slice(0, -CONTINUED)) === JSON.stringify(truth),
    );
    if (continuation === undefined)
      return outcome("no session has read exactly the tokens that the chat has");
    const difference = await replay.ask({ derivation: continuation });
    return outcome(difference === null ? null : `differs in ${String(difference)}`);
  }

  /** Something that a user does. @returns the answer that is on its way, if any */
  async #begin(): Promise<{ chatId: string; messageId: string } | null> {
    await this.#setLength(2 + this.#below(30));
    const dice = this.#random();
    const chat = dice < 0.2 ? null : await this.#anyChat();
    if (chat === null || chat.messages.length === 0) {
      return this.#send(chat?.id ?? (await this.#newChat()), null);
    }
    const users = chat.messages.filter(({ role }) => role === "user");
    const answers = chat.messages.filter(({ role }) => role === "assistant");
    const any = this.#pick(chat.messages);
    if (dice < 0.55) return this.#send(chat.id, chat.messages.at(-1)?.id ?? null);
    if (dice < 0.65 && answers.length > 0) {
      const messageId = this.#pick(answers).id;
      const made = await this.#world.call("messages.regenerate", { chatId: chat.id, messageId });
      return { chatId: chat.id, messageId: made.assistantMessageId };
    }
    if (dice < 0.78 && users.length > 0) {
      const text = this.#words(60);
      const messageId = this.#pick(users).id;
      const made = await this.#world.call("messages.edit", { chatId: chat.id, messageId, text });
      this.#acknowledged.set(made.userMessageId, text);
      return { chatId: chat.id, messageId: made.assistantMessageId };
    }
    if (dice < 0.9) {
      const { chatId } = await this.#world.call("messages.fork", {
        chatId: chat.id,
        messageId: any.id,
      });
      this.#chats.push(chatId);
      return this.#send(chatId, any.id);
    }
    if (dice < 0.97) {
      const messageId = this.#pick(any.siblings);
      await this.#world.call("messages.select", { chatId: chat.id, messageId });
      return null;
    }
    await this.#world.call("chats.delete", { chatId: chat.id });
    this.#chats.splice(this.#chats.indexOf(chat.id), 1);
    this.#acknowledged.clear();
    return null;
  }

  async #send(chatId: string, parentId: string | null) {
    const text = this.#words(120);
    const documentIds = this.#random() < 0.15 ? [await this.#document()] : [];
    const made = await this.#world.call("messages.send", {
      chatId,
      parentId,
      text,
      documentIds,
      reading: this.#random() < 0.5 ? "whole" : "search",
    });
    this.#acknowledged.set(made.userMessageId, text);
    return { chatId, messageId: made.assistantMessageId };
  }

  async #document(): Promise<string> {
    const [known] = this.#documents;
    if (known !== undefined && this.#random() < 0.5) return known;
    const { id } = await this.#world.call("documents.import", {
      name: `notes ${this.seed} ${this.#documents.length}.txt`,
      mediaType: "text/plain",
      bytes: new TextEncoder().encode(this.#words(400)),
    });
    this.#documents.push(id);
    return id;
  }

  async #anyChat(): Promise<Chat> {
    const chatId = this.#chats.length === 0 ? await this.#newChat() : this.#pick(this.#chats);
    return this.#world.call("chats.get", { chatId });
  }

  async #newChat(): Promise<string> {
    const { id } = await this.#world.call("chats.create", {});
    this.#chats.push(id);
    return id;
  }

  async #setLength(maxTokens: number): Promise<void> {
    const isGreedy = this.#random() < 0.5;
    await this.#world.call("settings.set", {
      sampler: {
        temperature: isGreedy ? 0 : 0.9,
        topK: 0,
        topP: 1,
        minP: 0,
        repetitionPenalty: this.#random() < 0.2 ? 1.1 : 1,
        repetitionWindow: 32,
        seed: 1 + this.#below(1e6),
        maxTokens,
      },
    });
  }

  async #settled(chatId: string, messageId: string): Promise<Message> {
    for (;;) {
      const { messages } = await this.#world.call("chats.get", { chatId });
      const message = messages.find(({ id }) => id === messageId);
      if (message === undefined) throw new Error("an answer is not in its chat");
      if (message.status === "failed") throw new Error(`failed: ${message.error?.message ?? ""}`);
      if (!["queued", "reading", "writing"].includes(message.status)) return message;
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
  }

  #below(count: number): number {
    return Math.floor(this.#random() * count);
  }

  #pick<T>(from: readonly T[]): T {
    const chosen = from[this.#below(from.length)];
    if (chosen === undefined) throw new Error("nothing to choose from");
    return chosen;
  }

  #words(most: number): string {
    const length = 4 + this.#below(most);
    return Array.from({ length }, () => this.#pick(LETTERS))
      .join("")
      .replace(/^\s+/, "x");
  }
}
