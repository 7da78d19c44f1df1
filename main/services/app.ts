/** All services of one running Tarn, wired. A shell gives what only it has: folders, an engine, a way to open links. */
import { join } from "node:path";
import type { EngineClient } from "../engine/client.ts";
import type { Handlers } from "../contract/contract.ts";
import { TarnError } from "../contract/errors.ts";
import { openStore } from "../store/store.ts";
import { branchHandlers } from "./chats/branches.ts";
import { chatHandlers } from "./chats/chats.ts";
import { createComplete, type Complete } from "./chats/completion.ts";
import { chatCosts } from "./chats/costs.ts";
import { createConversation } from "./chats/conversation.ts";
import { createDeletion } from "./chats/deletion.ts";
import { createRebuilder } from "./chats/rebuild.ts";
import { createUndo } from "./chats/undo.ts";
import { dispatch } from "./dispatch.ts";
import { createDigester } from "./documents/digest.ts";
import { createDocumentReadings } from "./documents/document-readings.ts";
import { documentHandlers } from "./documents/document-library.ts";
import { createMemoryMaps } from "./documents/memory-map.ts";
import { createEngineService, type EngineService } from "./engine/engine-service.ts";
import { createQueue } from "./engine/queue.ts";
import { createEvents, type Events } from "./events.ts";
import { createModelLibrary, type OpenFile } from "./models/model-library.ts";
import { createPersonas } from "./personas/personas.ts";
import { createAudits } from "./provenance/audit.ts";
import { openSettings, type SettingsService } from "./settings/settings.ts";
import { chatFileHandlers } from "./state-files/chat-files.ts";
import { createFileTransfers } from "./state-files/file-transfers.ts";
import { createStateService } from "./states/state-service.ts";
import { loadTokenizer } from "./tokenizer/load-tokenizer.ts";

export interface ServicesOptions {
  /** Prepared by `prepareDataFolder`. */
  readonly dataFolder: string;
  /** Holds `models/` with what ships. */
  readonly resourcesFolder: string;
  readonly version: string;
  readonly shell: "desktop" | "browser";
  /** Starts an engine; asked again after one was lost. */
  readonly startEngine: () => EngineClient | Promise<EngineClient>;
  readonly openFile: OpenFile;
  /** Opens a link that passed the gate. */
  readonly openLink: (url: string) => Promise<void>;
  /** The full path of the model of this run, whatever the user has chosen; the choice stays as it is. */
  readonly modelPath?: string;
  /** See StoreOptions. */
  readonly maxDatabasePages?: number;
}

export interface Services {
  readonly handlers: Handlers;
  readonly events: Events;
  readonly engine: EngineService;
  readonly settings: SettingsService;
  /** A call of the contract as it comes from outside. @throws TarnError */
  call(name: string, input: unknown): Promise<unknown>;
  /** An answer outside any chat; nothing is kept. */
  readonly complete: Complete;
  /** Stops what runs, saves it, ends the engine and the store. */
  close(): Promise<void>;
}

/**
 * Opens the store, tidies up after a crash, and begins to load the model in the background.
 * @throws TarnError `busy` when another Tarn uses the folder, `store`, `disk-full`
 */
export async function createServices(options: ServicesOptions): Promise<Services> {
  // Its thread comes up while the database does.
  const first = Promise.resolve(options.startEngine());
  const store = await openStore({
    file: join(options.dataFolder, "tarn.sqlite"),
    maxPages: options.maxDatabasePages ?? null,
  }).catch(async (error: unknown) => {
    await first.then((engine) => engine.close());
    throw error;
  });
  await store.run("stopInterrupted", {});
  await store.run("interruptReadings", {});
  await store.run("interruptRebuilds", {});
  await store.run("purgeDeletedChats", { now: Date.now() });
  const events = createEvents();
  const settings = await openSettings(store, events);
  const library = createModelLibrary(
    store,
    { bundled: join(options.resourcesFolder, "models"), own: join(options.dataFolder, "models") },
    options.openFile,
    options.modelPath ?? null,
  );
  const engine = createEngineService(
    { first, next: options.startEngine },
    loadTokenizer,
    library,
    settings,
    events,
  );
  const queue = createQueue();
  const states = createStateService(store, events, settings);
  const readings = createDocumentReadings(store, states, settings);
  const context = { store, events, engine, settings, states, readings };
  const digester = createDigester(context, queue);
  const memoryMaps = createMemoryMaps(context, queue);
  const audits = createAudits(context, queue);
  const personas = createPersonas(context, queue);
  const conversation = createConversation(context, queue);
  const rebuilder = createRebuilder(context, queue);
  const deletion = createDeletion(store, conversation, rebuilder);
  const transfers = createFileTransfers();
  const chats = {
    ...chatHandlers(store, events, deletion),
    ...conversation.handlers,
    ...branchHandlers(context, conversation),
  };
  const history = createUndo(store, events, conversation, deletion, chats);

  let isClosing = false;
  /** Resolves when what ran is stopped and saved. */
  async function stopWork(): Promise<void> {
    memoryMaps.stop();
    audits.stop();
    await Promise.all([rebuilder.stop(), digester.stop(), personas.stop(), conversation.stopAll()]);
  }

  /** Sessions end with the model that they are of, so what runs is stopped and saved first. */
  async function switchModel(): Promise<void> {
    await stopWork();
    // Loading goes on behind the answer to the call; `engine.status` tells how it ends.
    void load();
  }

  async function load(): Promise<void> {
    await engine.reload();
    if (isClosing) return;
    personas.start();
    digester.start();
    await rebuilder.start();
  }

  const handlers: Handlers = {
    async "app.info"() {
      return { version: options.version, dataFolder: options.dataFolder, shell: options.shell };
    },
    ...chats,
    ...history.handlers,
    "history.undo": history.undo,
    "history.redo": history.redo,
    ...documentHandlers(context, digester),
    ...memoryMaps.handlers,
    ...audits.handlers,
    ...personas.handlers,
    "models.list": () => library.list(),
    "models.add": ({ path }) => library.add(path),
    async "models.use"({ modelId }) {
      const entry = await library.get(modelId);
      if (!entry.supported)
        throw new TarnError("unknown-architecture", entry.reason ?? "This model cannot be used.", {
          modelId,
        });
      await settings.set({ modelId });
      await switchModel();
      return null;
    },
    "chats.cost": ({ chatId }) => chatCosts(context, chatId),
    ...rebuilder.handlers,
    ...transfers.handlers,
    ...chatFileHandlers(context, queue, transfers, rebuilder),
    async "states.sizes"() {
      const { bytes, snapshots, pinned } = await states.sizes();
      return { bytes, snapshots, pinned, budget: settings.get().statesBudget };
    },
    async "engine.status"() {
      return engine.status();
    },
    async "settings.get"() {
      return settings.get();
    },
    async "settings.set"(patch) {
      const before = settings.get();
      const after = await settings.set(patch);
      if (after.statesBudget < before.statesBudget) await states.shrink();
      if (after.backend !== before.backend || after.modelId !== before.modelId) await switchModel();
      return after;
    },
    async "shell.openLink"({ url }) {
      await options.openLink(allowedLink(url));
      return null;
    },
  };

  void load();
  return {
    handlers,
    events,
    engine,
    settings,
    call: (name, input) => dispatch(handlers, name, input),
    complete: createComplete(engine, settings, queue),
    async close() {
      isClosing = true;
      await stopWork();
      await engine.close();
      // What was deleted could be restored until now.
      try {
        await store.run("purgeDeletedChats", { now: Date.now() });
      } finally {
        await store.close();
      }
    },
  };
}

/**
 * The one gate for links that leave the program.
 * @throws TarnError `bad-request` for anything but http, https and mailto
 */
export function allowedLink(url: string): string {
  const parsed = URL.parse(url);
  if (parsed === null || !["http:", "https:", "mailto:"].includes(parsed.protocol)) {
    throw new TarnError("bad-request", "Only web and mail addresses can be opened from here.", {
      url: url.slice(0, 200),
    });
  }
  return parsed.href;
}
