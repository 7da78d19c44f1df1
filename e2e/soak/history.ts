/** A random history: chats with their branches, edits and documents, in a world that ends at random moments. */
import type { Chat, Message } from "../../main/contract/dto.ts";
import { idsOf } from "./derivation.ts";
import type { Program } from "./process.ts";
import type { World } from "./world.ts";

const LETTERS = "abcdefghijklmnopqrstuvwxyz    .,".split("");
/** Tokens that are continued in the end, each with its logits compared. */
const CONTINUED = 64;
/** States of a document that are compared in the end. */
const COMPARED = 2;

export interface Outcome {
  readonly seed: number;
  /** Null where all was right. */
  readonly failure: string | null;
  /** Tokens that the continued state had read before. */
  readonly position: number;
  /** Tokens that the last turn read beyond its own: 0 where its state was stored, less where it began with a document that was read. */
  readonly readAgain: number;
  /** States of documents, of a whole or of a chunk, that were computed again and compared. */
  readonly compared: number;
}

/** Answers that are on their way. */
interface Pending {
  readonly chatId: string;
  readonly messageIds: readonly [string, ...string[]];
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
  readonly #personas: string[] = [];
  /** User's words that were acknowledged, by message: they must be there after any kill. */
  readonly #acknowledged = new Map<string, string>();
  #pending: Pending | null = null;

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
    const { chatId, messageIds } = this.#pending ?? { chatId: "", messageIds: [] };
    for (const messageId of messageIds) await this.#settled(chatId, messageId);
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
    const document = this.#documents.length > 0 ? this.#pick(this.#documents) : null;
    let compared = 0;
    if (document !== null) {
      await this.#readToEnd(document);
      const states = this.#world.documentStates(document);
      for (; compared < Math.min(COMPARED, states.length); compared++) {
        const { series, ...state } = this.#pick(states);
        const difference = await replay.ask(state);
        if (difference !== null)
          return this.#failed(`the state ${series} of a document differs in ${String(difference)}`);
      }
    }
    // Every other chat begins with the document that was read.
    const begins = document !== null && this.#random() < 0.5;
    const chat = begins
      ? await this.#world.call("chats.get", { chatId: await this.#newChat() })
      : await this.#anyChat();
    await this.#world.continueWith(CONTINUED);
    const answer = await this.#send(
      chat.id,
      chat.messages.at(-1)?.id ?? null,
      begins ? [document] : [],
      begins ? "whole" : "search",
    );
    const message = await this.#settled(answer.chatId, answer.messageIds[0]);
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
      compared,
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
  async #begin(): Promise<Pending | null> {
    await this.#setLength(2 + this.#below(30));
    if (this.#random() < 0.12) {
      await this.#world.call("documents.read", { documentId: await this.#document(2000) });
      return null;
    }
    const dice = this.#random();
    const chat = dice < 0.18 ? null : await this.#anyChat();
    if (chat === null || chat.messages.length === 0) {
      return this.#sendAny(chat?.id ?? (await this.#newChat()), null);
    }
    const users = chat.messages.filter(({ role }) => role === "user");
    const answers = chat.messages.filter(({ role }) => role === "assistant");
    const any = this.#pick(chat.messages);
    if (dice < 0.48) return this.#sendAny(chat.id, chat.messages.at(-1)?.id ?? null);
    if (dice < 0.56 && answers.length > 0) {
      const messageId = this.#pick(answers).id;
      const made = await this.#world.call("messages.regenerate", { chatId: chat.id, messageId });
      return { chatId: chat.id, messageIds: [made.assistantMessageId] };
    }
    if (dice < 0.65 && answers.length > 0) {
      const { assistantMessageIds } = await this.#world.call("messages.regenerateMany", {
        chatId: chat.id,
        messageId: this.#pick(answers).id,
        count: 2 + this.#below(3),
      });
      const [first = "", ...others] = assistantMessageIds;
      return { chatId: chat.id, messageIds: [first, ...others] };
    }
    if (dice < 0.76 && users.length > 0) {
      const text = this.#words(60);
      const messageId = this.#pick(users).id;
      const made = await this.#world.call("messages.edit", { chatId: chat.id, messageId, text });
      this.#acknowledged.set(made.userMessageId, text);
      return { chatId: chat.id, messageIds: [made.assistantMessageId] };
    }
    if (dice < 0.87) {
      const { chatId } = await this.#world.call("messages.fork", {
        chatId: chat.id,
        messageId: any.id,
      });
      this.#chats.push(chatId);
      return this.#sendAny(chatId, any.id);
    }
    if (dice < 0.93) {
      const messageId = this.#pick(any.siblings);
      await this.#world.call("messages.select", { chatId: chat.id, messageId });
      return null;
    }
    if (dice < 0.97) {
      await this.#world.call("messages.deleteBranch", { chatId: chat.id, messageId: any.id });
      this.#acknowledged.clear();
      return null;
    }
    await this.#world.call("chats.delete", { chatId: chat.id });
    this.#chats.splice(this.#chats.indexOf(chat.id), 1);
    this.#acknowledged.clear();
    return null;
  }

  async #sendAny(chatId: string, parentId: string | null): Promise<Pending> {
    const documentIds = this.#random() < 0.2 ? [await this.#document(400)] : [];
    const reading = this.#random() < 0.5 ? "whole" : "search";
    if (parentId !== null || this.#random() < 0.7)
      return this.#send(chatId, parentId, documentIds, reading);
    return this.#send(chatId, null, [], "search", { personaId: await this.#persona() });
  }

  async #send(
    chatId: string,
    parentId: string | null,
    documentIds: string[],
    reading: "whole" | "search",
    persona: { readonly personaId?: string } = {},
  ): Promise<Pending> {
    const text = this.#words(120);
    const made = await this.#world.call("messages.send", {
      chatId,
      parentId,
      text,
      documentIds,
      reading,
      ...persona,
    });
    this.#acknowledged.set(made.userMessageId, text);
    return { chatId, messageIds: [made.assistantMessageId] };
  }

  /** Goes on with a reading that kills may have cut off. @throws Error where it cannot be read */
  async #readToEnd(documentId: string): Promise<void> {
    await this.#world.call("documents.read", { documentId });
    for (;;) {
      const all = await this.#world.call("documents.list", {});
      const { reading = null } = all.find(({ id }) => id === documentId) ?? {};
      if (reading?.status === "read") return;
      if (reading?.status === "failed") throw new Error(`not read: ${reading.error ?? ""}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** One that is known, changed now and then, or a new one. */
  async #persona(): Promise<string> {
    const text = {
      name: "someone",
      prompt: this.#words(60),
      examples: this.#random() < 0.5 ? [] : [{ user: this.#words(20), assistant: this.#words(20) }],
      temperature: null,
    };
    const [known] = this.#personas;
    if (known !== undefined && this.#random() < 0.7) {
      if (this.#random() < 0.2)
        await this.#world.call("personas.change", { personaId: known, ...text });
      return known;
    }
    const { id } = await this.#world.call("personas.add", text);
    this.#personas.push(id);
    return id;
  }

  /** One that is known, or a new one. */
  async #document(most: number): Promise<string> {
    const [known] = this.#documents;
    if (known !== undefined && this.#random() < 0.5) return known;
    const { id } = await this.#world.call("documents.import", {
      name: `notes ${this.seed} ${this.#documents.length}.txt`,
      mediaType: "text/plain",
      bytes: new TextEncoder().encode(this.#paragraphs(most)),
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
      const [message] = await this.#world.call("messages.get", {
        chatId,
        messageIds: [messageId],
      });
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

  #failed(failure: string): Outcome {
    return { seed: this.seed, failure, position: 0, readAgain: 0, compared: 0 };
  }

  #paragraphs(most: number): string {
    const length = 1 + this.#below(Math.max(1, most / 200));
    return Array.from({ length }, () => this.#words(400)).join("\n\n");
  }

  #words(most: number): string {
    const length = 4 + this.#below(most);
    return Array.from({ length }, () => this.#pick(LETTERS))
      .join("")
      .replace(/^\s+/, "x");
  }
}
