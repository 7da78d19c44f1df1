import { expect, test } from "vitest";
import { fixtureBytes } from "../../../kernels/testing/golden.ts";
import { seeded } from "../../../kernels/testing/seeded.ts";
import { decodeF32, encodeF32 } from "../convert.ts";
import { f32ToF16 } from "../f16.ts";
import { memoryFile } from "../memory-file.ts";
import { openSafetensors } from "../safetensors.ts";
import { StoredTensors } from "../stored-tensors.ts";
import { BLOCK_TYPES, type BlockDType } from "./block-types.ts";
import { repackExact, type WholeDType } from "./exact-q8.ts";

const PATH = "ggml-blocks/blocks.safetensors";
const WHOLE: readonly WholeDType[] = ["q5_0", "iq4_nl", "tq1_0", "tq2_0", "mxfp4"];

function refuse(): never {
  throw new Error("the block would be rounded");
}

function bits(values: Float32Array): Uint32Array {
  return new Uint32Array(values.slice().buffer);
}

test.each(WHOLE)("%s of ggml's own package becomes q8_0 bit for bit", async (dtype) => {
  const source = await openSafetensors(memoryFile("blocks.safetensors", fixtureBytes(PATH)));
  const name = `${dtype}.packed`;
  const packed = await source.readStored(name, 0, source.info(name).bytes);
  const { values, bytes } = BLOCK_TYPES[dtype];
  const count = (packed.byteLength / bytes) * values;
  const repacked = repackExact(dtype, packed, count, refuse);
  expect(bits(decodeF32("q8_0", repacked, count))).toEqual(bits(decodeF32(dtype, packed, count)));
});

test.each(WHOLE.filter((dtype) => dtype !== "mxfp4"))(
  "%s of any bytes with any finite scale becomes q8_0 bit for bit",
  (dtype) => {
    const random = seeded(11);
    const { values, bytes } = BLOCK_TYPES[dtype];
    const scaleAt = { q5_0: 0, iq4_nl: 0, tq1_0: 52, tq2_0: 64 }[dtype];
    for (const scale of [0, -0, 2 ** -24, -3e-7, 0.013, -1, 317.5, 65504]) {
      const packed = Uint8Array.from(random.integers(4 * bytes, 256));
      for (let block = 0; block < 4; block++)
        new DataView(packed.buffer).setUint16(block * bytes + scaleAt, f32ToF16(scale), true);
      const before = packed.slice();
      const repacked = repackExact(dtype, packed, 4 * values, refuse);
      expect(packed).toEqual(before);
      expect(bits(decodeF32("q8_0", repacked, 4 * values))).toEqual(
        bits(decodeF32(dtype, packed, 4 * values)),
      );
    }
  },
);

/** Blocks of mxfp4 with every value of E2M1 and this exponent. */
function mxfp4(exponent: number, codes: readonly number[]): Uint8Array {
  const nibbles = Array.from({ length: 16 }, (_, j) => codes[j % codes.length] ?? 0);
  return Uint8Array.of(exponent, ...nibbles.map((code) => code | (code << 4)));
}
const ALL = Array.from({ length: 16 }, (_, code) => code);

test("mxfp4 is exact for all scales that f16 has, and for more where the numbers allow", () => {
  const exact = (exponent: number, codes: readonly number[]): void => {
    const packed = mxfp4(exponent, codes);
    const repacked = decodeF32("q8_0", repackExact("mxfp4", packed, 32, refuse), 32);
    // A zero has no sign in q8_0.
    expect([...repacked].map((value) => value + 0)).toEqual(
      [...decodeF32("mxfp4", packed, 32)].map((value) => value + 0),
    );
  };
  for (let exponent = 104; exponent <= 146; exponent++) exact(exponent, ALL);
  for (const exponent of [0, 50, 103, 200]) exact(exponent, [0]);
  // 2, 4 and 6 are even, so half the step is enough.
  exact(103, [0, 4, 6, 12]);
});

test("mxfp4 beyond that is rounded as any other block, and alone", async () => {
  const [near, small] = [mxfp4(120, ALL), mxfp4(101, ALL)];
  const file = memoryFile("m", Uint8Array.of(...near, ...small));
  const tensor = { name: "w", dtype: "mxfp4", shape: [1, 64], bytes: 34, file, offset: 0 } as const;
  const source = new StoredTensors("gguf", new Map([["w", tensor]]), [file]);
  const packed = await source.matrix("w", null).read(0, 1);
  expect(packed.subarray(0, 34)).toEqual(repackExact("mxfp4", near, 32, refuse));
  expect(packed.subarray(34)).toEqual(encodeF32("q8_0", decodeF32("mxfp4", small, 32)));
});

test("a tensor is read by the exact path, whatever asks for q8_0", async () => {
  const source = await openSafetensors(memoryFile("blocks.safetensors", fixtureBytes(PATH)));
  for (const dtype of WHOLE) {
    const name = `${dtype}.packed`;
    const packed = await source.readStored(name, 0, source.info(name).bytes);
    const { values, bytes } = BLOCK_TYPES[dtype as BlockDType];
    const cols = (packed.byteLength / bytes) * values;
    const file = memoryFile("m", packed);
    const tensor = { name, dtype, shape: [1, cols], bytes: packed.byteLength, file, offset: 0 };
    for (const as of [null, "q8_0"] as const) {
      const read = await new StoredTensors("gguf", new Map([[name, tensor]]), [file])
        .matrix(name, as)
        .read(0, 1);
      expect(decodeF32("q8_0", read, cols)).toEqual(decodeF32(dtype, packed, cols));
    }
  }
});
