import { expect, test } from "vitest";
import { decodeClientFrame, decodeServerFrame, encodeFrame } from "./frames.ts";

test("a call with bytes in it comes back equal", () => {
  const frame = {
    id: 3,
    call: "documents.import",
    input: { name: "a", bytes: new Uint8Array([1, 2, 255]) },
  };
  expect(decodeClientFrame(encodeFrame(frame))).toEqual(frame);
});

test("replies and events come back equal", () => {
  const failed = {
    id: 1,
    ok: false as const,
    error: { code: "not-found" as const, message: "Gone.", data: { id: "x" } },
  };
  expect(decodeServerFrame(encodeFrame(failed))).toEqual(failed);
  expect(decodeServerFrame(encodeFrame({ event: "chats.changed", data: {} }))).toEqual({
    event: "chats.changed",
    data: {},
  });
});

test("throws on bytes that are no frame", () => {
  expect(() => decodeClientFrame(new Uint8Array([0xc1]))).toThrow(/not MessagePack/);
  expect(() => decodeClientFrame(encodeFrame({ event: "x", data: {} }))).toThrow(/unknown shape/);
});
