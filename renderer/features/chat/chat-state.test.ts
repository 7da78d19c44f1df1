import { expect, test } from "vitest";
import type { Chat, Message } from "../../../main/contract/dto.ts";
import { withDelta, withMessage } from "./chat-state.ts";

const answer: Message = {
  id: "a",
  parentId: "u",
  role: "assistant",
  text: "The lamp",
  passages: [],
  grounds: null,
  persona: null,
  documents: [],
  status: "writing",
  error: null,
  tokens: 0,
  prefilled: 12,
  tokensPerSecond: null,
  sampler: null,
  siblings: ["a"],
  createdAt: 0,
};
const chat: Chat = {
  id: "c",
  title: "Lamp",
  updatedAt: 0,
  pinned: false,
  messages: [answer],
  tokensRead: 0,
  snapshotBytes: null,
  documents: [],
};

test("appends a piece that follows directly", () => {
  expect(withDelta(chat, { messageId: "a", at: 8, text: " was lit" })?.messages[0]?.text).toBe(
    "The lamp was lit",
  );
});

test("ignores a piece that the fetched chat already holds", () => {
  expect(withDelta(chat, { messageId: "a", at: 3, text: " lamp" })).toBe(chat);
});

test("asks for the chat again when a piece is missing, or overlaps its end, or belongs to another branch", () => {
  expect(withDelta(chat, { messageId: "a", at: 9, text: "x" })).toBeNull();
  expect(withDelta(chat, { messageId: "a", at: 7, text: "p was" })).toBeNull();
  expect(withDelta(chat, { messageId: "other", at: 0, text: "x" })).toBeNull();
});

test("replaces a changed message in place, and asks again for one that is not shown", () => {
  expect(withMessage(chat, { ...answer, status: "done" })?.messages[0]?.status).toBe("done");
  expect(withMessage(chat, { ...answer, id: "b" })).toBeNull();
});
