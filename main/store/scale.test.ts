/** Ten thousand messages and two hundred documents: what runs while someone waits must find its rows by index. */
import BetterSqlite3, { type Database } from "better-sqlite3";
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  addMessages,
  getMessage,
  idsOnPath,
  messageInChat,
  messagesOfChat,
  pathTo,
  rootOf,
  updateMessage,
} from "./messages.ts";
import { setDeletedBranches } from "./branches.ts";
import { createChat, getChat, listChats, updateChat } from "./chats.ts";
import { listDocuments } from "./documents.ts";
import { migrate, migrations } from "./database.ts";
import {
  adoptDerivations,
  checkState,
  derivationOf,
  provenanceOf,
  stateByHash,
} from "./provenance.ts";
import { generateScale, SCALE } from "./scale.testing.ts";
import {
  dropState,
  loadState,
  outdatedChats,
  saveState,
  statesOf,
  statesOnPath,
  stateSizes,
} from "./states.ts";

let db: Database;
let statements: string[] = [];

beforeAll(() => {
  db = new BetterSqlite3(":memory:", { verbose: (sql) => void statements.push(String(sql)) });
  db.pragma("foreign_keys = ON");
  migrate(db, migrations, null);
  generateScale(db);
  db.exec("ANALYZE");
});
afterAll(() => void db.close());

/** How SQLite goes about what `work` runs: every statement with its plan. */
function plansOf(work: () => unknown): { readonly sql: string; readonly plan: string[] }[] {
  statements = [];
  work();
  return statements
    .filter((sql) => /^\s*(SELECT|WITH|INSERT|UPDATE|DELETE)/i.test(sql))
    .map((sql) => ({
      sql,
      plan: db
        .prepare<[], { readonly detail: string }>(`EXPLAIN QUERY PLAN ${sql}`)
        .all()
        .map(({ detail }) => detail),
    }));
}

/** Going through a whole table of rows, and sorting more than a path. */
const isSlow = (step: string): boolean =>
  /^SCAN (messages|m|snapshots|s|message_ids|i|message_documents|snapshot_heads|snapshot_pages|state_pages|documents|passages)\b(?!.*COVERING INDEX)/.test(
    step,
  );

const chatId = "chat 250";
const messageId = `message ${250 * SCALE.messagesOfChat + SCALE.messagesOfChat - 1}`;
const firstId = `message ${250 * SCALE.messagesOfChat}`;
const state = {
  owner: { kind: "message", id: messageId, series: "" },
  modelHash: "model",
  tokenizerHash: "tokenizer",
  numericVersion: 1,
  position: 400,
  prefixHash: "p",
  derivation: null,
  bytes: randomBytes(600),
  headBytes: 500,
  pageBytes: 100,
  pageHashes: randomBytes(32),
  now: 5,
  budget: 2 ** 40,
} as const;

test("is as large as it says", () => {
  expect(db.prepare("SELECT count(*) AS n FROM messages").get()).toEqual({ n: 10_000 });
  expect(db.prepare("SELECT count(*) AS n FROM documents").get()).toEqual({ n: 200 });
  expect(listChats(db, { query: "" })).toHaveLength(SCALE.chats);
});

test.each<readonly [what: string, work: () => unknown]>([
  ["the list of chats", () => listChats(db, { query: "" })],
  ["a chat", () => getChat(db, { chatId })],
  ["its messages", () => messagesOfChat(db, { chatId })],
  ["a message", () => getMessage(db, { messageId })],
  ["a message with those beside it", () => messageInChat(db, { chatId, messageId })],
  ["a first message", () => messageInChat(db, { chatId, messageId: firstId })],
  ["the first message of a path", () => rootOf(db, { messageId })],
  ["a path", () => pathTo(db, { messageId })],
  ["its ids", () => idsOnPath(db, { messageId, tokenizerHash: "tokenizer" })],
  ["its states", () => statesOnPath(db, { messageId, modelHash: "model" })],
  ["all states of it", () => statesOnPath(db, { messageId, modelHash: null })],
  [
    "states of a message",
    () => statesOf(db, { kind: "message", ownerId: messageId, modelHash: null }),
  ],
  ["a state", () => loadState(db, { stateId: 77, now: 6 })],
  ["a saved state", () => saveState(db, state)],
  ["how an answer came about", () => provenanceOf(db, { messageId })],
  ["how a state was computed", () => derivationOf(db, { stateHash: "state 77" })],
  ["a state by its hash", () => stateByHash(db, { stateHash: "state 77" })],
  ["the soundness of a state", () => checkState(db, { stateHash: "state 77" })],
  ["the way to a state", () => adoptDerivations(db, { stateHash: "state 77", messageId })],
  ["a dropped state", () => dropState(db, { stateId: 78, damaged: true })],
  ["the size of all states", () => stateSizes(db, {})],
  [
    "chats of an older version",
    () =>
      outdatedChats(db, { modelHash: "model", tokenizerHash: "tokenizer", numericVersions: [2] }),
  ],
  [
    "a new chat and a turn",
    () => {
      createChat(db, { id: "new", title: "", baseId: messageId, now: 7 });
      const message = getMessage(db, { messageId });
      if (message === null) throw new Error("no message");
      const added = { ...message, id: "added", parentId: messageId, chatId: "new" };
      addMessages(db, {
        chatId: "new",
        title: null,
        now: 8,
        messages: [{ message: added, ids: null }],
      });
      updateMessage(db, {
        messageId: "added",
        patch: { text: "words" },
        ids: { tokenizerHash: "tokenizer", ids: Int32Array.of(1) },
      });
      updateChat(db, { chatId: "new", updatedAt: 9 });
    },
  ],
])("%s is found by index", (_, work) => {
  const plans = plansOf(work);
  expect(plans.length).toBeGreaterThan(0);
  expect(plans.filter(({ plan }) => plan.some(isSlow))).toEqual([]);
});

test("one message of a chat is what it is among all of them: in a fork, and beside a branch that was deleted", () => {
  for (const [chat, deleted] of [
    ["chat 249", []],
    ["chat 248", ["message 4970"]],
    ["chat 249", ["message 4963"]],
  ] as const) {
    const tipId = getChat(db, { chatId: chat })?.tipId ?? null;
    setDeletedBranches(db, { chatId: chat, messageIds: deleted, tipId });
    const visible = messagesOfChat(db, { chatId: chat });
    expect(visible.length).toBeGreaterThan(2);
    for (let number = 4955; number < 5005; number++) {
      const id = `message ${number}`;
      const message = visible.find((one) => one.id === id);
      const beside = visible.filter(({ parentId }) => parentId === message?.parentId);
      const siblings = beside.map((one) => one.id);
      expect(messageInChat(db, { chatId: chat, messageId: id })).toEqual(
        message === undefined ? null : { message, siblings },
      );
      expect(rootOf(db, { messageId: id })).toEqual(pathTo(db, { messageId: id })[0]);
    }
  }
});

test("lists come in their order without being sorted, and documents without their text", () => {
  const [list] = plansOf(() => listChats(db, { query: "" }));
  expect(list?.plan[0]).toBe("SCAN chats USING INDEX chats_by_use");
  expect(list?.plan.join()).not.toContain("TEMP B-TREE");
  const [documents] = plansOf(() => listDocuments(db, {}));
  expect(documents?.plan).toEqual(["SCAN documents USING COVERING INDEX documents_listed"]);
});
