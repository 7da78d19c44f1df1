import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { PrefixHash } from "./prefix-hash.ts";

/** The chain by Node's OpenSSL. */
function chain(ids: readonly number[]): string {
  let hash: Buffer = Buffer.alloc(32);
  for (const id of ids) {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(id);
    hash = createHash("sha256").update(hash).update(bytes).digest();
  }
  return hash.toString("hex");
}

test("is the SHA-256 chain, in whatever pieces the tokens come", () => {
  const ids = Array.from({ length: 300 }, (_, i) => (i * 7919) % 70_001);
  const whole = PrefixHash.empty();
  whole.append(Int32Array.from(ids));
  expect(whole.hex()).toBe(chain(ids));

  const pieces = PrefixHash.empty();
  pieces.append(Int32Array.from(ids.slice(0, 1)));
  pieces.append(Int32Array.from(ids.slice(1, 130)));
  const later = PrefixHash.fromHex(pieces.hex());
  later.append(Int32Array.from(ids.slice(130)));
  expect(later.hex()).toBe(whole.hex());
});

test("a copy goes its own way", () => {
  const first = PrefixHash.empty();
  first.append(Int32Array.of(1));
  const second = first.copy();
  second.append(Int32Array.of(2));
  expect(first.hex()).toBe(chain([1]));
  expect(second.hex()).toBe(chain([1, 2]));
});
