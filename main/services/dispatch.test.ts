import { expect, test } from "vitest";
import type { Handlers } from "../contract/contract.ts";
import { MAX_DOCUMENT_BYTES } from "../contract/dto.ts";
import { TarnError } from "../contract/errors.ts";
import { dispatch } from "./dispatch.ts";

const refuse = async (): Promise<never> => {
  throw new Error("no such thing here");
};
const handlers: Handlers = new Proxy({} as Handlers, { get: () => refuse });

test("a name that is no call, and an input that does not fit, never reach a handler", async () => {
  for (const [name, input] of [
    ["toString", {}],
    ["chats.nothing", {}],
    ["chats.get", { chatId: 1 }],
    ["chats.get", null],
    ["settings.set", { theme: "pink" }],
  ] as const) {
    await expect(dispatch(handlers, name, input)).rejects.toMatchObject({ code: "bad-request" });
  }
});

test("a file beyond the limit is refused by its size, with the reason", async () => {
  const bytes = new Uint8Array(MAX_DOCUMENT_BYTES + 1);
  const input = { name: "a.txt", mediaType: "text/plain", bytes };
  await expect(dispatch(handlers, "documents.import", input)).rejects.toMatchObject({
    code: "document-too-large",
    message: expect.stringContaining("64 MB. Nothing was added"),
  });
});

test("what a handler did not expect is a typed error", async () => {
  const failure = dispatch(handlers, "chats.list", { query: "" });
  await expect(failure).rejects.toBeInstanceOf(TarnError);
  await expect(failure).rejects.toMatchObject({ code: "internal" });
});
