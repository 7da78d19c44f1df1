/** What the user does with messages: send, regenerate, edit, fork, select, stop. Words go to disk first, then into the engine's queue. */
import { randomInt, randomUUID } from "node:crypto";
import type { Handlers } from "../../contract/contract.ts";
import type { SamplerSettings } from "../../contract/dto.ts";
import { TarnError } from "../../contract/errors.ts";
import type { AttachedDocument, DocumentRecord, MessageRecord } from "../../store/records.ts";
import { toTarnError } from "../dispatch.ts";
import type { Queue } from "../engine/queue.ts";
import {
  leafBelow,
  requireChat,
  requireMessage,
  titleFrom,
  viewChat,
  viewMessages,
} from "./chat-view.ts";
import type { LiveSession } from "./read-path.ts";
import { tellMessage, type Answer, type Turn, type TurnContext } from "./turn-context.ts";
import { runTurn } from "./turn.ts";

/** A greedy answer would come out the same again, so another one is sampled at this temperature. */
const REGENERATE_TEMPERATURE = 0.7;

export type ConversationHandlers = Pick<
  Handlers,
  | "messages.send"
  | "messages.regenerate"
  | "messages.regenerateMany"
  | "messages.edit"
  | "messages.fork"
  | "messages.select"
  | "messages.get"
  | "messages.stop"
>;

export interface Conversation {
  readonly handlers: ConversationHandlers;
  /** Stops what this chat has running or waiting, and resolves when it is at rest. @param among of these answers; null of all */
  stopChat(chatId: string, among?: ReadonlySet<string> | null): Promise<void>;
  /** Stops everything and resolves when it is saved. */
  stopAll(): Promise<void>;
}

interface RunningTurn {
  readonly turn: Turn;
  readonly abort: AbortController;
  readonly finished: Promise<void>;
}

/** @param queue the engine's: one thing at a time */
export function createConversation(context: TurnContext, queue: Queue): Conversation {
  const { store, events, settings } = context;
  const running = new Set<RunningTurn>();
  /** The one turn that is not waiting. */
  let current: Turn | null = null;
  let live: LiveSession | null = null;

  function enqueue(turn: Turn): void {
    const abort = new AbortController();
    const finished = queue
      .run("turn", async () => {
        const before = live;
        live = null;
        current = turn;
        live = await runTurn(context, turn, before, abort.signal);
      })
      // runTurn puts what goes wrong on the message; what is left is a store that cannot even keep that.
      .catch((cause: unknown) =>
        events.emit("notice", { kind: "error", text: toTarnError(cause).message }),
      )
      .finally(() => running.delete(entry));
    const entry: RunningTurn = { turn, abort, finished };
    running.add(entry);
  }

  /** Writes the messages, then lets the answers among them be written by the engine in one turn. */
  async function addAndAnswer(
    chatId: string,
    messages: readonly MessageRecord[],
    choose: (sampler: SamplerSettings) => SamplerSettings,
  ): Promise<void> {
    const chat = await requireChat(store, chatId);
    const words = messages.find((message) => message.role === "user")?.text;
    const title = chat.title === "" && words !== undefined ? titleFrom(words) : null;
    await store.run("addMessages", {
      chatId,
      title,
      now: Date.now(),
      messages: messages.map((message) => ({ message, ids: null })),
    });
    for (const message of messages) await tellMessage(context, chatId, message.id);
    events.emit("chats.changed", {});
    const root = await store.run("rootOf", { messageId: messages.at(-1)?.id ?? "" });
    const temperature = root?.persona?.temperature ?? null;
    const sampler = (): SamplerSettings =>
      choose({ ...settings.get().sampler, ...(temperature === null ? {} : { temperature }) });
    const [first, ...others] = messages
      .filter(({ role }) => role === "assistant")
      .map(({ id }): Answer => ({ messageId: id, sampler }));
    if (first !== undefined) enqueue({ chatId, answers: [first, ...others] });
  }

  /** The user's message that an answer, or the message itself, stands for. @throws TarnError `bad-request`, `not-found` */
  async function questionOf(chatId: string, messageId: string): Promise<string> {
    const message = await requireMessage(store, chatId, messageId);
    const userId = message.role === "assistant" ? message.parentId : message.id;
    if (userId !== null) return userId;
    throw new TarnError("bad-request", "There is no question before this answer.", { messageId });
  }

  /** The message that stands for a persona, with a copy of it. @throws TarnError `bad-request`, `not-found` */
  async function beginWith(
    chatId: string,
    parentId: string | null,
    personaId: string,
  ): Promise<MessageRecord> {
    if (parentId !== null)
      throw new TarnError("bad-request", "Only a new chat can begin with a persona.", { chatId });
    const found = await store.run("getPersona", { personaId });
    if (found === null)
      throw new TarnError("not-found", "This persona was removed. Choose another one.", {
        personaId,
      });
    const { id, name, prompt, examples, temperature } = found;
    const persona = { id, name, examples, temperature };
    return { ...newMessage(chatId, null, "system", prompt, []), persona };
  }

  async function stopChat(chatId: string, among: ReadonlySet<string> | null = null): Promise<void> {
    for (const { turn, abort, finished } of running) {
      const isMeant = among === null || turn.answers.some((one) => among.has(one.messageId));
      if (turn.chatId !== chatId || !isMeant) continue;
      abort.abort();
      if (turn === current) {
        await finished;
        continue;
      }
      // It still waits for other chats' turns: the user need not.
      for (const { messageId } of turn.answers) {
        await store.run("updateMessage", { messageId, patch: { status: "stopped" }, ids: null });
        await tellMessage(context, chatId, messageId);
      }
    }
  }

  const handlers: ConversationHandlers = {
    async "messages.send"({ chatId, parentId, text, documentIds, reading, asOf, personaId }) {
      if (parentId === null) await requireChat(store, chatId);
      else await requireMessage(store, chatId, parentId);
      const documents = await Promise.all(
        [...new Set(documentIds)].map(async (documentId) => {
          const document = await store.run("getDocument", { documentId });
          if (document === null)
            throw new TarnError(
              "not-found",
              "A document that is attached here was removed. Attach it again.",
              { documentId },
            );
          return {
            id: document.id,
            name: document.name,
            ...placeIn(document, asOf),
          };
        }),
      );
      const chain: MessageRecord[] = [];
      if (personaId !== undefined) chain.push(await beginWith(chatId, parentId, personaId));
      if (reading === "whole" && documents.length > 0) {
        chain.push(
          newMessage(
            chatId,
            chain.at(-1)?.id ?? parentId,
            "document",
            documents.map((document) => document.name).join(", "),
            documents,
          ),
        );
      }
      const user = newMessage(chatId, chain.at(-1)?.id ?? parentId, "user", text, documents);
      const assistant = newMessage(chatId, user.id, "assistant", "", []);
      await addAndAnswer(chatId, [...chain, user, assistant], seeded);
      return { userMessageId: user.id, assistantMessageId: assistant.id };
    },

    async "messages.regenerateMany"({ chatId, messageId, count }) {
      const userId = await questionOf(chatId, messageId);
      const answers = Array.from({ length: count }, () =>
        newMessage(chatId, userId, "assistant", "", []),
      );
      await addAndAnswer(chatId, answers, otherwise);
      return { assistantMessageIds: answers.map(({ id }) => id) };
    },

    async "messages.regenerate"({ chatId, messageId }) {
      const userId = await questionOf(chatId, messageId);
      const assistant = newMessage(chatId, userId, "assistant", "", []);
      await addAndAnswer(chatId, [assistant], otherwise);
      return { assistantMessageId: assistant.id };
    },

    async "messages.edit"({ chatId, messageId, text }) {
      const message = await requireMessage(store, chatId, messageId);
      if (message.role !== "user")
        throw new TarnError("bad-request", "Only your own messages can be edited.", { messageId });
      const user = newMessage(chatId, message.parentId, "user", text, message.documents);
      const assistant = newMessage(chatId, user.id, "assistant", "", []);
      await addAndAnswer(chatId, [user, assistant], seeded);
      return { userMessageId: user.id, assistantMessageId: assistant.id };
    },

    async "messages.fork"({ chatId, messageId }) {
      const chat = await requireChat(store, chatId);
      await requireMessage(store, chatId, messageId);
      if ([...running].some(({ turn }) => turn.answers.some((one) => one.messageId === messageId)))
        throw new TarnError(
          "busy",
          "This answer is still being written. Stop it or wait, then fork.",
          { messageId },
        );
      const fork = await store.run("createChat", {
        id: randomUUID(),
        title: chat.title,
        baseId: messageId,
        now: Date.now(),
      });
      events.emit("chats.changed", {});
      return { chatId: fork.id };
    },

    async "messages.get"({ chatId, messageIds }) {
      await requireChat(store, chatId);
      const visible = await store.run("messagesOfChat", { chatId });
      const wanted = new Set(messageIds);
      return viewMessages(
        visible.filter((message) => wanted.has(message.id)),
        visible,
      );
    },

    async "messages.select"({ chatId, messageId, exact }) {
      await requireMessage(store, chatId, messageId);
      const visible = await store.run("messagesOfChat", { chatId });
      const tipId = exact === true ? messageId : leafBelow(visible, messageId);
      await store.run("updateChat", { chatId, tipId });
      return viewChat(store, chatId);
    },

    async "messages.stop"({ chatId }) {
      await stopChat(chatId);
      return null;
    },
  };

  return {
    handlers,
    stopChat,
    async stopAll() {
      for (const { abort } of running) abort.abort();
      await queue.idle();
    },
  };
}

function newMessage(
  chatId: string,
  parentId: string | null,
  role: MessageRecord["role"],
  text: string,
  documents: MessageRecord["documents"],
): MessageRecord {
  return {
    id: randomUUID(),
    chatId,
    parentId,
    role,
    text,
    status: role === "assistant" ? "queued" : "done",
    error: null,
    passages: [],
    grounds: null,
    persona: null,
    documents,
    tokens: 0,
    prefilled: null,
    tokensPerSecond: null,
    sampler: null,
    createdAt: Date.now(),
  };
}

/** How far a document is looked at: to where the next page begins; all of it behind the last one. */
function placeIn(
  { pages, pageUnit }: DocumentRecord,
  page: number | undefined,
): Pick<AttachedDocument, "until" | "asOf"> {
  const next = page === undefined ? undefined : pages?.find((one) => one.page > page);
  return next === undefined
    ? { until: null, asOf: null }
    : { until: next.start, asOf: `${pageUnit ?? "page"} ${page}` };
}

/** A sampler that gives another answer. */
function otherwise(sampler: SamplerSettings): SamplerSettings {
  const again =
    sampler.temperature === 0
      ? { ...sampler, temperature: REGENERATE_TEMPERATURE, topP: Math.min(sampler.topP, 0.95) }
      : sampler;
  return { ...again, seed: freshSeed() };
}

/** Seed 0 stands for a new one each time; it is recorded with the answer, so that the answer can be had again. */
function seeded(sampler: SamplerSettings): SamplerSettings {
  return sampler.temperature > 0 && sampler.seed === 0
    ? { ...sampler, seed: freshSeed() }
    : sampler;
}

function freshSeed(): number {
  return randomInt(1, 2 ** 32);
}
