import { expect, test } from "vitest";
import { SharedArena } from "./memory.ts";

test("hands out aligned, zeroed pieces that do not overlap", () => {
  const arena = new SharedArena();
  const pieces = [1, 64, 65, 200_000].map((bytes) => ({
    bytes,
    address: arena.allocate(bytes, "a piece"),
  }));
  for (const { bytes, address } of pieces) {
    expect(address % 64).toBe(0);
    expect(arena.bytes(address, bytes).every((value) => value === 0)).toBe(true);
    arena.bytes(address, bytes).fill(1);
  }
  const used = pieces.reduce((sum, { bytes }) => sum + bytes, 0);
  const ones = new Uint8Array(arena.memory.buffer).reduce((sum, value) => sum + value, 0);
  expect(ones).toBe(used);
});

test("uses freed neighbours as one piece again, without growing, and zeroed", () => {
  const arena = new SharedArena();
  const first = arena.allocate(100_000, "first");
  const second = arena.allocate(100_000, "second");
  arena.allocate(64, "a fence");
  arena.bytes(first, 100_000).fill(7);
  const size = arena.memory.buffer.byteLength;
  arena.free(second);
  arena.free(first);
  const both = arena.allocate(200_000, "both");
  expect(both).toBe(first);
  expect(arena.memory.buffer.byteLength).toBe(size);
  expect(arena.bytes(both, 200_000).every((value) => value === 0)).toBe(true);
});

test("refuses what WebAssembly cannot address, and stays usable", () => {
  const arena = new SharedArena();
  expect(() => arena.allocate(5 * 2 ** 30, "a large model")).toThrow(
    expect.objectContaining({ name: "KernelError", code: "out-of-memory" }),
  );
  expect(arena.allocate(64, "a small one")).toBeGreaterThan(0);
});

test("refuses to free twice", () => {
  const arena = new SharedArena();
  const address = arena.allocate(64, "a piece");
  arena.free(address);
  expect(() => arena.free(address)).toThrow(expect.objectContaining({ code: "backend" }));
});
