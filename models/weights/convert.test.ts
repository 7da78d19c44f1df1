import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { decodeF32, encodeF32 } from "./convert.ts";
import { f16Table, f32ToBf16, f32ToF16 } from "./f16.ts";
import { openGguf } from "./gguf.ts";
import { memoryFile } from "./memory-file.ts";

const root = new URL("../../", import.meta.url);

describe("f16", () => {
  it("encodes every f16 value to its own bits", () => {
    const wrong = [...f16Table().entries()].filter(
      ([bits, value]) => !Number.isNaN(value) && f32ToF16(value) !== bits,
    );
    expect(wrong).toEqual([]);
    expect(f16Table()[f32ToF16(NaN)]).toBeNaN();
  });

  it("rounds as the JavaScript engine's own f16 does", () => {
    const f16round: unknown = Reflect.get(Math, "f16round");
    if (typeof f16round !== "function")
      throw new Error("Math.f16round is missing: run the tests with Node 24, as npm's scripts do");
    const view = new DataView(new ArrayBuffer(4));
    const wrong: number[] = [];
    for (let i = 0; i < 200_000; i++) {
      view.setUint32(0, Math.imul(i, 2_654_435_761) >>> 0);
      const value = view.getFloat32(0);
      if (!Object.is(f16Table()[f32ToF16(value)], f16round(value))) wrong.push(value);
    }
    expect(wrong).toEqual([]);
    for (const value of [
      65504,
      65519.99,
      65520,
      -65520,
      2 ** -24,
      2 ** -25,
      2 ** -25 * 1.0001,
      2 ** -14 * 0.99999,
      1.00048828125,
      1.00146484375,
    ]) {
      expect(f16Table()[f32ToF16(Math.fround(value))], String(value)).toBe(
        f16round(Math.fround(value)),
      );
    }
  });
});

describe("bf16", () => {
  it("rounds to nearest, ties to even, and keeps NaN", () => {
    expect([1, -2, 0, Infinity].map(f32ToBf16)).toEqual([0x3f80, 0xc000, 0, 0x7f80]);
    // 1 + 2^-8 lies between 0x3f80 and 0x3f81, 1 + 3 * 2^-8 between 0x3f81 and 0x3f82.
    expect([1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20].map(f32ToBf16)).toEqual([
      0x3f80, 0x3f82, 0x3f81,
    ]);
    expect(f32ToBf16(NaN) & 0x7fff).toBeGreaterThan(0x7f80);
    expect([...decodeF32("bf16", Uint8Array.of(0x80, 0x3f, 0x00, 0xc0), 2)]).toEqual([1, -2]);
  });
});

describe("q8_0", () => {
  it("gives the blocks of the default model's GGUF file from its weights before rounding", async () => {
    const before = decodeF32(
      "bf16",
      readFileSync(new URL("e2e/fixtures/default-model/in-proj-rows.bf16", root)),
      8 * 512,
    );
    const file = memoryFile(
      "default.gguf",
      readFileSync(new URL("resources/models/tarn-default-25m-Q8_0.gguf", root)),
    );
    const { tensors } = await openGguf([file]);
    const expected = await tensors.matrix("blk.0.ssm_in.weight", null).read(0, 8);
    const packed = encodeF32("q8_0", before);
    expect(packed.length).toBe(expected.length);
    let halves = 0;
    for (let i = 0; i < packed.length; i++) {
      if (packed[i] === expected[i]) continue;
      // Exact halves go either way with the compiler's order of division and multiplication. Scales never differ.
      const block = Math.floor(i / 34);
      const values = before.subarray(block * 32, block * 32 + 32);
      const exact =
        ((values[(i % 34) - 2] ?? NaN) * 127) /
        values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      expect(Math.abs(exact % 1)).toBe(0.5);
      halves += 1;
    }
    expect(halves).toBeLessThan(packed.length / 500);
  });

  it("rounds halves away from zero, and takes zeros and the largest scale", () => {
    const values = new Float32Array(64);
    values.set([127, 0.5, -0.5, 1.5, -1.5, 2.5, -126.5]);
    const packed = encodeF32("q8_0", values);
    expect([...new Int8Array(packed.buffer, 2, 7)]).toEqual([127, 1, -1, 2, -2, 3, -127]);
    expect([...packed.subarray(34)]).toEqual(Array.from({ length: 34 }, () => 0));
    expect([...decodeF32("q8_0", packed, 64).subarray(0, 4)]).toEqual([127, 1, -1, 2]);
  });
});
