/** THE list of what the store can do. The worker runs it, the client's types are derived from it. */
import type { Database } from "better-sqlite3";
import type { ErrorDto } from "../contract/errors.ts";
import * as branches from "./branches.ts";
import * as chats from "./chats.ts";
import * as documents from "./documents.ts";
import * as messages from "./messages.ts";
import * as personas from "./personas.ts";
import * as provenance from "./provenance.ts";
import * as readings from "./readings.ts";
import * as rebuilds from "./rebuilds.ts";
import * as settings from "./settings.ts";
import * as states from "./states.ts";

/** True when SQLite finds the file sound; else its findings. */
function checkDatabase(
  db: Database,
  _input: Record<string, never>,
): { readonly sound: boolean; readonly findings: string } {
  const findings = String(db.pragma("quick_check(10)", { simple: true }));
  return { sound: findings === "ok", findings };
}

export const operations = {
  checkDatabase,
  listChats: chats.listChats,
  createChat: chats.createChat,
  getChat: chats.getChat,
  updateChat: chats.updateChat,
  deleteChat: chats.deleteChat,
  restoreChat: chats.restoreChat,
  purgeDeletedChats: chats.purgeDeletedChats,
  deletedBranches: branches.deletedBranches,
  setDeletedBranches: branches.setDeletedBranches,
  addMessages: messages.addMessages,
  updateMessage: messages.updateMessage,
  setMessageIds: messages.setMessageIds,
  getMessage: messages.getMessage,
  rootOf: messages.rootOf,
  pathTo: messages.pathTo,
  idsOnPath: messages.idsOnPath,
  messagesOfChat: messages.messagesOfChat,
  messageInChat: messages.messageInChat,
  stopInterrupted: messages.stopInterrupted,
  listPersonas: personas.listPersonas,
  getPersona: personas.getPersona,
  savePersona: personas.savePersona,
  removePersona: personas.removePersona,
  provenanceOf: provenance.provenanceOf,
  derivationOf: provenance.derivationOf,
  checkState: provenance.checkState,
  adoptDerivations: provenance.adoptDerivations,
  stateByHash: provenance.stateByHash,
  documentPrint: provenance.documentPrint,
  saveState: states.saveState,
  statesOnPath: states.statesOnPath,
  statesOf: states.statesOf,
  outdatedChats: states.outdatedChats,
  loadState: states.loadState,
  dropState: states.dropState,
  pinState: states.pinState,
  stateSizes: states.stateSizes,
  statesOfMessages: states.statesOfMessages,
  shrinkStates: states.shrinkStates,
  addDocument: documents.addDocument,
  listDocuments: documents.listDocuments,
  getDocument: documents.getDocument,
  findDocument: documents.findDocument,
  documentText: documents.documentText,
  removeDocument: documents.removeDocument,
  extendDocument: documents.extendDocument,
  chatsReading: documents.chatsReading,
  saveDocumentIds: readings.saveDocumentIds,
  documentIds: readings.documentIds,
  countedDocuments: readings.countedDocuments,
  saveChunks: readings.saveChunks,
  chunksOf: readings.chunksOf,
  saveReading: readings.saveReading,
  listReadings: readings.listReadings,
  interruptReadings: readings.interruptReadings,
  saveRebuild: rebuilds.saveRebuild,
  removeRebuild: rebuilds.removeRebuild,
  listRebuilds: rebuilds.listRebuilds,
  interruptRebuilds: rebuilds.interruptRebuilds,
  searchPassages: documents.searchPassages,
  countPassages: documents.countPassages,
  passagesAt: documents.passagesAt,
  passagePlaces: documents.passagePlaces,
  documentStates: readings.documentStates,
  readSettings: settings.readSettings,
  writeSettings: settings.writeSettings,
} as const;

export type OperationName = keyof typeof operations;
export type OperationInput<N extends OperationName> = Parameters<(typeof operations)[N]>[1];
export type OperationOutput<N extends OperationName> = ReturnType<(typeof operations)[N]>;

/** Main thread to worker. `close` ends it. */
export type StoreRequest =
  | {
      [N in OperationName]: {
        readonly id: number;
        readonly name: N;
        readonly input: OperationInput<N>;
      };
    }[OperationName]
  | { readonly id: number; readonly name: "close" };

/** Worker to main thread; `id` 0 is the answer to opening. */
export type StoreReply =
  | { readonly id: number; readonly ok: true; readonly output: unknown }
  | { readonly id: number; readonly ok: false; readonly error: ErrorDto };
