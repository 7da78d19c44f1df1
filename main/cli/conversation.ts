import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { EventData, EventName } from "../contract/contract.ts";
import type { Message } from "../contract/dto.ts";
import { errorCodes, TarnError } from "../contract/errors.ts";
import type { Services } from "../services/app.ts";
import { openData } from "./data.ts";
import type { CommonOptions } from "./options.ts";
import { note } from "./output.ts";
import { find, noPersona } from "./persona.ts";

/** A conversation in the terminal: the app's own services over a folder that is gone afterwards. */
export interface TerminalConversation {
  /**
   * Asks, and gives the answer's text as it comes. A signal stops the answer; it then ends as `stopped`.
   * @throws TarnError why there is no answer
   */
  ask(question: string, onText: (piece: string) => void, signal?: AbortSignal): Promise<Exchange>;
  close(): Promise<void>;
}

/** A question as it was put before the model, and its answer. */
export interface Exchange {
  readonly question: Message;
  readonly answer: Message;
}

/**
 * Loads the model, and reads the documents that the first question is about.
 * @throws TarnError for a model or document that cannot be used
 */
export async function openConversation(
  options: CommonOptions,
  documents: readonly string[],
  persona: string | null = null,
): Promise<TerminalConversation> {
  // Without a persona of the user's nothing of theirs is touched.
  const folder = persona === null ? await mkdtemp(path.join(tmpdir(), "tarn-")) : null;
  const { services, close: closeData } = await openData(
    folder === null ? options : { ...options, data: folder },
  );
  const close = async (): Promise<void> => {
    await closeData();
    if (folder !== null) await rm(folder, { recursive: true, force: true });
  };
  try {
    listen(services, { notice: ({ text }) => note(text) });
    const { info } = await services.engine.model();
    for (const notice of info.notices) note(notice);
    const documentIds = await Promise.all(
      documents.map(async (file) => await importDocument(services, file)),
    );
    const found = persona === null ? null : await find(services, persona);
    if (persona !== null && found === null) throw noPersona(persona);
    const { id: chatId } = await services.handlers["chats.create"]({});
    return { ask: createAsk(services, chatId, documentIds, found?.id ?? null), close };
  } catch (error) {
    await close();
    throw error;
  }
}

type Listeners = { readonly [N in EventName]?: (data: EventData<N>) => void };

function listen({ events }: Services, listeners: Listeners): () => void {
  return events.subscribe((name, data) => {
    // The bus gives each name its own data; TypeScript cannot follow the pair.
    const listener = listeners[name] as ((data: EventData<EventName>) => void) | undefined;
    listener?.(data);
  });
}

async function importDocument(services: Services, file: string): Promise<string> {
  const bytes = await readFile(file).catch((error: unknown) => {
    throw new TarnError(
      "not-found",
      `${file} could not be read: ${error instanceof Error ? error.message : String(error)}`,
      { file },
    );
  });
  const { id } = await services.handlers["documents.import"]({
    name: path.basename(file),
    mediaType: "",
    bytes: new Uint8Array(bytes),
  });
  return id;
}

function createAsk(
  services: Services,
  chatId: string,
  documentIds: readonly string[],
  personaId: string | null,
): TerminalConversation["ask"] {
  let tip: string | null = null;
  return async (text, onText, signal) => {
    const pieces: { readonly messageId: string; readonly text: string }[] = [];
    const finals = new Map<string, Message>();
    let wake: () => void = () => undefined;
    const unsubscribe = listen(services, {
      "message.delta": (delta) => {
        pieces.push(delta);
        wake();
      },
      "message.changed": ({ message }) => {
        if (message.role === "user" || !isUnfinished(message)) finals.set(message.id, message);
        wake();
      },
    });
    const stop = (): void => void services.handlers["messages.stop"]({ chatId });
    try {
      const sent = await services.handlers["messages.send"]({
        chatId,
        parentId: tip,
        text,
        documentIds: tip === null ? [...documentIds] : [],
        reading: "search",
        ...(tip === null && personaId !== null ? { personaId } : {}),
      });
      signal?.addEventListener("abort", stop);
      if (signal?.aborted === true) stop();
      for (;;) {
        for (const piece of pieces.splice(0))
          if (piece.messageId === sent.assistantMessageId) onText(piece.text);
        const answer = finals.get(sent.assistantMessageId);
        const question = finals.get(sent.userMessageId);
        if (answer?.status === "failed" && answer.error !== null) throw asError(answer.error);
        if (answer !== undefined && question !== undefined) {
          tip = answer.id;
          return { question, answer };
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      signal?.removeEventListener("abort", stop);
      unsubscribe();
    }
  };
}

function isUnfinished({ status }: Message): boolean {
  return status === "queued" || status === "reading" || status === "writing";
}

function asError({ code, message }: NonNullable<Message["error"]>): TarnError {
  const known = errorCodes.find((one) => one === code);
  return new TarnError(known ?? "internal", message);
}
