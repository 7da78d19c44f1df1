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

test("what claims more than it has is refused before anything is made of it", () => {
  // A thousand arrays inside each other, each of a million values by its own word: 8 GB.
  const nested = new Uint8Array(5000);
  for (let at = 0; at < nested.length; at += 5) nested.set([0xdd, 0x00, 0x0f, 0x42, 0x40], at);
  expect(() => decodeClientFrame(nested)).toThrow(/claims 1000000 values behind byte 5 of 5000/);
  const deep = new Uint8Array(5000).fill(0x91);
  expect(() => decodeClientFrame(deep)).toThrow(/nested deeper than 32 levels/);
});

test("throws on bytes that are no frame", () => {
  expect(() => decodeClientFrame(new Uint8Array([0xc1]))).toThrow(/not MessagePack/);
  expect(() => decodeClientFrame(encodeFrame({ event: "x", data: {} }))).toThrow(/unknown shape/);
});
