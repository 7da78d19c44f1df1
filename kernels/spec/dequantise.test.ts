import { expect, test } from "vitest";
import { dequantiseRow, f16ToF32 } from "./dequantise.ts";

// Values of IEEE 754-2019 binary16, from its table of examples.
test.each([
  [0x0000, 0],
  [0x8000, -0],
  [0x3c00, 1],
  [0xc000, -2],
  [0x3555, 0.333251953125],
  [0x3c01, 1.0009765625],
  [0x7bff, 65504],
  [0x0400, 2 ** -14],
  [0x03ff, 1023 * 2 ** -24],
  [0x8001, -(2 ** -24)],
  [0x7c00, Infinity],
  [0xfc00, -Infinity],
  [0x7e00, NaN],
])("reads the f16 bits %i as %d", (bits, value) => {
  expect(f16ToF32(bits)).toBe(value);
});

test("unpacks a q8_0 block: scale times int8", () => {
  const packed = new DataView(new ArrayBuffer(2 * 34));
  packed.setUint16(34, 0x3800, true); // 0.5
  for (let j = 0; j < 32; j++) packed.setInt8(36 + j, j * 8 - 128);
  const row = new Float32Array(32);
  dequantiseRow("q8_0", packed, 1, row);
  expect([...row]).toEqual(Array.from({ length: 32 }, (_, j) => j * 4 - 64));
});

test("unpacks bf16 as the upper half of f32", () => {
  const packed = new DataView(new ArrayBuffer(4));
  packed.setUint16(0, 0x3f80, true);
  packed.setUint16(2, 0xc049, true);
  const row = new Float32Array(2);
  dequantiseRow("bf16", packed, 0, row);
  expect([...row]).toEqual([1, -3.140625]);
});
