import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { WeightsError } from "./errors.ts";
import { openGguf } from "./gguf.ts";
import { memoryFile } from "./memory-file.ts";
import { openModel } from "./open-model.ts";

const shipped = new Uint8Array(
  readFileSync(new URL("../../resources/models/tarn-default-25m-Q8_0.gguf", import.meta.url)),
);

/** Writes little-endian GGUF by hand, right or wrong. */
class Writer {
  readonly bytes: number[] = [];

  u32(value: number): this {
    for (let i = 0; i < 4; i++) this.bytes.push((value >>> (8 * i)) & 0xff);
    return this;
  }

  u64(value: number | bigint): this {
    for (let i = 0n; i < 8n; i++) this.bytes.push(Number((BigInt(value) >> (8n * i)) & 0xffn));
    return this;
  }

  raw(...bytes: readonly number[]): this {
    this.bytes.push(...bytes);
    return this;
  }

  string(text: string): this {
    const bytes = new TextEncoder().encode(text);
    return this.u64(bytes.length).raw(...bytes);
  }

  align(to: number): this {
    while (this.bytes.length % to !== 0) this.bytes.push(0);
    return this;
  }

  done(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.bytes);
  }
}

const header = (tensors: number | bigint, keys: number | bigint, version = 3): Writer =>
  new Writer()
    .raw(...new TextEncoder().encode("GGUF"))
    .u32(version)
    .u64(tensors)
    .u64(keys);

interface Tensor {
  readonly name?: string;
  readonly dims?: readonly (number | bigint)[];
  readonly type?: number;
  readonly offset?: number;
}

/** Part `number` of a model split into `count`, with one tensor. */
function part(number: number, count: number, tensor: string): Uint8Array<ArrayBuffer> {
  return header(1, 3)
    .string("split.no")
    .u32(2)
    .raw(number, 0)
    .string("split.count")
    .u32(2)
    .raw(count, 0)
    .string("split.tensors.count")
    .u32(5)
    .u32(2)
    .string(tensor)
    .u32(1)
    .u64(2)
    .u32(0)
    .u64(0)
    .align(32)
    .raw(0, 0, 0, 0, 0, 0, 128, 63)
    .done();
}

function withTensors(tensors: readonly Tensor[], dataBytes: number): Uint8Array<ArrayBuffer> {
  const writer = header(tensors.length, 0);
  for (const { name = "t", dims = [2, 3], type = 0, offset = 0 } of tensors) {
    writer.string(name).u32(dims.length);
    for (const side of dims) writer.u64(side);
    writer.u32(type).u64(offset);
  }
  return writer
    .align(32)
    .raw(...Array.from({ length: dataBytes }, (_, i) => i % 64))
    .done();
}

async function refusal(bytes: Uint8Array): Promise<WeightsError> {
  const error: unknown = await openGguf([memoryFile("x.gguf", bytes)]).then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof WeightsError) return error;
  throw new Error("the file was not refused", { cause: error });
}

describe("a GGUF file", () => {
  it("gives what the default model's file says, with dimensions slowest first", async () => {
    const { metadata, tensors } = await openGguf([memoryFile("default.gguf", shipped)]);
    expect(metadata.get("general.architecture")).toBe("mamba2");
    expect(metadata.get("mamba2.ssm.inner_size")).toBe(1024);
    expect(metadata.get("tokenizer.ggml.tokens")).toHaveLength(8192);
    expect(tensors.info("token_embd.weight")).toMatchObject({
      dtype: "q8_0",
      shape: [8192, 512],
      bytes: 8192 * 16 * 34,
    });
    expect(tensors.matrix("blk.0.ssm_in.weight", null)).toMatchObject({
      dtype: "q8_0",
      rows: 2320,
      cols: 512,
    });
    expect(tensors.info("blk.0.ssm_conv1d.weight").shape).toEqual([1280, 4]);
    // A is stored as -exp(A_log): negative.
    expect((await tensors.readF32("blk.0.ssm_a")).every((value) => value < 0)).toBe(true);
  });

  it("opens as a model with its name and all ids that end a turn", async () => {
    const model = await openModel([memoryFile("default.gguf", shipped)]);
    expect(model).toMatchObject({
      name: "Tarn default 25M",
      config: { format: "gguf", modelType: "mamba2" },
    });
    expect(model.stopIds.toSorted((a, b) => a - b)).toEqual([0, 5]);
  });

  it("reads every kind of metadata value, in versions 2 and 3", async () => {
    for (const version of [2, 3]) {
      const writer = header(0, 8, version);
      writer
        .string("u8")
        .u32(0)
        .raw(200)
        .string("i8")
        .u32(1)
        .raw(200)
        .string("i16")
        .u32(3)
        .raw(0xfe, 0xff);
      writer
        .string("f32")
        .u32(6)
        .raw(0, 0, 0x80, 0x3f)
        .string("bool")
        .u32(7)
        .raw(1)
        .string("big")
        .u32(10)
        .u64(2n ** 60n);
      writer
        .string("list")
        .u32(9)
        .u32(8)
        .u64(2)
        .string("ä")
        .string("")
        .string("nested")
        .u32(9)
        .u32(9)
        .u64(1)
        .u32(4)
        .u64(2)
        .u32(1)
        .u32(2);
      const { metadata } = await openGguf([memoryFile("x", writer.done())]);
      expect(Object.fromEntries(metadata)).toEqual({
        u8: 200,
        i8: -56,
        i16: -2,
        f32: 1,
        bool: true,
        big: 2n ** 60n,
        list: ["ä", ""],
        nested: [[1, 2]],
      });
    }
  });

  it("reads F32, F16, BF16 and Q8_0, aligned and with gaps", async () => {
    const bytes = withTensors(
      [
        { name: "a", dims: [2], type: 0, offset: 0 },
        { name: "b", dims: [2], type: 1, offset: 32 },
        { name: "c", dims: [2], type: 30, offset: 64 },
        { name: "d", dims: [32, 1], type: 8, offset: 128 },
      ],
      128 + 34,
    );
    const { tensors } = await openGguf([memoryFile("x", bytes)]);
    expect(tensors.names().map((name) => tensors.info(name).dtype)).toEqual([
      "f32",
      "f16",
      "bf16",
      "q8_0",
    ]);
    expect(await tensors.readF32("d")).toHaveLength(32);
  });

  it.each<[string, Uint8Array, Partial<WeightsError>]>([
    ["is empty", new Uint8Array(0), { code: "malformed" }],
    [
      "is something else",
      new TextEncoder().encode("PK\x03\x04 not a model at all, but long enough"),
      { code: "malformed" },
    ],
    ["is of version 1", header(0, 0, 1).done(), { code: "unsupported", actual: 1 }],
    ["is big endian", header(0, 0, 0x0300_0000).done(), { code: "unsupported" }],
    ["is cut off in the metadata", shipped.slice(0, 5000), { code: "malformed" }],
    ["is cut off in the tensors", shipped.slice(0, -100_000), { code: "malformed" }],
    ["announces 2^64 - 1 tensors", header(2n ** 64n - 1n, 0).done(), { code: "malformed" }],
    ["announces 2^40 keys", header(0, 2 ** 40).done(), { code: "malformed" }],
    ["announces a tensor that is not there", header(1, 0).done(), { code: "malformed" }],
    [
      "has a string of 2^62 bytes",
      header(0, 1)
        .u64(2n ** 62n)
        .raw(...Array.from({ length: 20 }, () => 0))
        .done(),
      { code: "malformed" },
    ],
    [
      "has a key that is no UTF-8",
      header(0, 1).u64(1).raw(0xff).u32(0).raw(1).done(),
      { code: "malformed" },
    ],
    [
      "has a key twice",
      header(0, 2).string("aaaa").u32(0).raw(1).string("aaaa").u32(0).raw(1).done(),
      { code: "malformed" },
    ],
    [
      "has an array of 2^40 numbers",
      header(0, 1)
        .string("a")
        .u32(9)
        .u32(4)
        .u64(2 ** 40)
        .done(),
      { code: "malformed" },
    ],
    [
      "nests arrays without end",
      header(0, 1)
        .string("a")
        .u32(9)
        .raw(...Array.from({ length: 500 }, () => [9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).flat())
        .done(),
      { code: "malformed" },
    ],
    [
      "has a value of unknown type",
      header(0, 1).string("a").u32(77).u64(0).done(),
      { code: "malformed" },
    ],
    [
      "has a tensor of a type that is not read",
      withTensors([{ dims: [256], type: 15 }], 292),
      { code: "unsupported", tensor: "t", actual: "Q8_K" },
    ],
    [
      "has a tensor of a type that nobody knows",
      withTensors([{ type: 999 }], 24),
      { code: "unsupported", tensor: "t", actual: "type 999" },
    ],
    [
      "has a tensor twice",
      withTensors([{}, { offset: 32 }], 64),
      { code: "malformed", tensor: "t" },
    ],
    [
      "has overlapping tensors",
      withTensors(
        [
          { name: "a", dims: [16] },
          { name: "b", offset: 32 },
        ],
        64,
      ),
      { code: "malformed", tensor: "b" },
    ],
    [
      "has an offset that is not aligned",
      withTensors([{ offset: 4 }], 64),
      { code: "malformed", tensor: "t" },
    ],
    [
      "has a tensor beyond the end",
      withTensors([{ dims: [100] }], 24),
      { code: "malformed", tensor: "t" },
    ],
    [
      "has sizes that overflow",
      withTensors([{ dims: [2n ** 40n, 2n ** 40n] }], 24),
      { code: "malformed", tensor: "t" },
    ],
    [
      "has five dimensions",
      withTensors([{ dims: [1, 1, 1, 1, 1] }], 24),
      { code: "malformed", tensor: "t" },
    ],
    [
      "has Q8_0 rows that are no whole blocks",
      withTensors([{ dims: [33, 2], type: 8 }], 200),
      { code: "malformed", tensor: "t" },
    ],
    [
      "has an odd alignment",
      header(0, 1).string("general.alignment").u32(4).u32(33).done(),
      { code: "malformed" },
    ],
    [
      "is one of several parts, and the others are not there",
      part(0, 2, "a"),
      { code: "missing", expected: "2 files" },
    ],
  ])("is refused where it %s", async (_, bytes, expected) => {
    expect(await refusal(bytes)).toMatchObject(expected);
  });

  it("is read in parts, in any order, each once and all of them", async () => {
    const parts = [part(1, 2, "b"), part(0, 2, "a")].map((bytes, i) =>
      memoryFile(`m-0000${2 - i}-of-00002.gguf`, bytes),
    );
    const { tensors, metadata } = await openGguf(parts);
    expect(tensors.names()).toEqual(["b", "a"]);
    expect(metadata.get("split.no")).toBe(0);
    expect(await tensors.readF32("b")).toEqual(Float32Array.of(0, 1));
    const wrong = [
      [part(0, 2, "a"), part(0, 2, "b")],
      [part(0, 2, "a"), part(1, 2, "a")],
      [part(0, 3, "a"), part(1, 3, "b")],
      [part(0, 2, "a"), part(1, 2, "b"), part(1, 2, "c")],
      [part(0, 1, "a"), part(1, 2, "b")],
    ];
    for (const files of wrong) {
      const opened = openGguf(files.map((bytes, i) => memoryFile(`${i}.gguf`, bytes)));
      await expect(opened).rejects.toBeInstanceOf(WeightsError);
    }
  });

  it("is refused with nothing but typed errors, or read, whatever bytes are changed", async () => {
    const small = withTensors(
      [
        { name: "a", dims: [32, 2], type: 8 },
        { name: "b", dims: [3], offset: 96 },
      ],
      96 + 12,
    );
    const keys = header(2, 3)
      .string("general.architecture")
      .u32(8)
      .string("mamba")
      .string("l")
      .u32(9)
      .u32(8)
      .u64(2)
      .string("x")
      .string("y")
      .string("general.alignment")
      .u32(4)
      .u32(32)
      .done();
    const original = Uint8Array.of(...keys, ...small.slice(24));
    let seed = 1;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    let refused = 0;
    for (let round = 0; round < 5000; round++) {
      const bytes = original.slice(0, random(4) === 0 ? random(original.length) : original.length);
      if (bytes.length > 0)
        for (let change = random(4); change >= 0; change--)
          bytes[random(bytes.length)] = random(4) === 0 ? 255 : random(256);
      try {
        await openModel([memoryFile("x.gguf", bytes)]);
      } catch (error) {
        if (!(error instanceof WeightsError)) throw error;
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(2000);
  });
});
