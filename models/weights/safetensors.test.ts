import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { WeightsError } from "./errors.ts";
import { memoryFile } from "./memory-file.ts";
import { openModel } from "./open-model.ts";
import { openSafetensors, openShards } from "./safetensors.ts";

const folder = new URL("../../e2e/fixtures/models/mamba/", import.meta.url);
const fixture = new Uint8Array(readFileSync(new URL("model.safetensors", folder)));
const config = new Uint8Array(readFileSync(new URL("config.json", folder)));
const utf8 = new TextEncoder();

function build(header: unknown, dataBytes: number): Uint8Array<ArrayBuffer> {
  return buildText(typeof header === "string" ? header : JSON.stringify(header), dataBytes);
}

function buildText(header: string, dataBytes: number): Uint8Array<ArrayBuffer> {
  const text = utf8.encode(header);
  const file = new Uint8Array(8 + text.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  for (let i = 0; i < dataBytes; i++) file[8 + text.length + i] = i;
  return file;
}

const tensor = (shape: unknown, from: unknown, to: unknown, dtype: unknown = "F32"): object => ({
  dtype,
  shape,
  data_offsets: [from, to],
});

async function refusal(bytes: Uint8Array): Promise<WeightsError> {
  const error: unknown = await openSafetensors(memoryFile("x.safetensors", bytes)).then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof WeightsError) return error;
  throw new Error("the file was not refused", { cause: error });
}

describe("a safetensors file", () => {
  it("gives names, shapes and values of a file written by transformers", async () => {
    const source = await openSafetensors(memoryFile("model.safetensors", fixture));
    expect(source.names()).toHaveLength(32);
    expect(source.info("backbone.embeddings.weight")).toMatchObject({
      dtype: "f32",
      shape: [112, 48],
      bytes: 112 * 48 * 4,
    });
    // Mamba's A starts as log(1 … N) plus noise.
    const ALog = await source.readF32("backbone.layers.0.mixer.A_log");
    expect(ALog).toHaveLength(96 * 16);
    expect(ALog.slice(0, 16).every((value, i) => Math.abs(value - Math.log(i + 1)) < 0.5)).toBe(
      true,
    );
  });

  it("reads ranges of rows as they are and converted", async () => {
    const source = await openSafetensors(memoryFile("model.safetensors", fixture));
    const name = "backbone.layers.0.mixer.in_proj.weight";
    const all = await source.readF32(name);
    const stored = source.matrix(name, null);
    expect(stored).toMatchObject({ dtype: "f32", rows: 192, cols: 48 });
    expect([...new Float32Array((await stored.read(5, 2)).buffer)]).toEqual([
      ...all.subarray(5 * 48, 7 * 48),
    ]);
    const halves = source.matrix(name, "f16");
    expect(await halves.read(0, 3)).toHaveLength(3 * 48 * 2);
    await expect(stored.read(191, 2)).rejects.toThrow(RangeError);
  });

  it("rounds to q8_0 only where rows are whole blocks", async () => {
    const source = await openSafetensors(
      memoryFile("x", build({ a: tensor([2, 32], 0, 256), b: tensor([1, 33], 256, 388) }, 388)),
    );
    expect(source.matrix("a", "q8_0")).toMatchObject({ dtype: "q8_0", rows: 2, cols: 32 });
    expect(await source.matrix("a", "q8_0").read(0, 2)).toHaveLength(68);
    expect(source.matrix("b", "q8_0")).toMatchObject({ dtype: "f32", cols: 33 });
  });

  it("takes scalars, empty tensors, metadata and names that objects have", async () => {
    const header =
      '{"__metadata__":{"format":"pt"},"__proto__":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"constructor":{"dtype":"F16","shape":[0,3],"data_offsets":[4,4]}}';
    const source = await openSafetensors(memoryFile("x", build(header, 4)));
    expect(source.names()).toEqual(["__proto__", "constructor"]);
    expect(source.has("toString")).toBe(false);
    expect(await source.readF32("__proto__")).toHaveLength(1);
    expect(source.matrix("__proto__", null)).toMatchObject({ rows: 1, cols: 1 });
  });

  it("refuses integers as weights and unknown names with typed errors", async () => {
    const source = await openSafetensors(
      memoryFile("x", build({ ids: tensor([1], 0, 8, "I64") }, 8)),
    );
    expect(() => source.matrix("ids", null)).toThrow(WeightsError);
    await expect(source.readF32("nothing")).rejects.toMatchObject({
      code: "missing",
      tensor: "nothing",
    });
  });

  it.each<[string, Uint8Array, Partial<WeightsError>]>([
    ["is empty", new Uint8Array(0), { code: "malformed" }],
    ["is cut off in the header", fixture.slice(0, 100), { code: "malformed" }],
    ["is cut off in the data", fixture.slice(0, -1), { code: "malformed" }],
    [
      "has bytes behind the data",
      Uint8Array.of(...fixture.slice(0, 20), ...build("{}", 3)),
      { code: "malformed" },
    ],
    [
      "has a header of 2^63 bytes",
      Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 128, 123, 125),
      { code: "malformed" },
    ],
    [
      "has a header that is no UTF-8",
      Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe),
      { code: "malformed" },
    ],
    ["has a header that is no JSON", build("{]", 0), { code: "malformed" }],
    ["has a header that is no object", build("[]", 0), { code: "malformed" }],
    [
      "has a header nested without end",
      build(`{"a":${"[".repeat(100_000)}`, 0),
      { code: "malformed" },
    ],
    [
      "has a name twice",
      build(
        '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        1,
      ),
      { code: "malformed" },
    ],
    [
      "has overlapping tensors",
      build({ a: tensor([2], 0, 8), b: tensor([2], 4, 12) }, 12),
      { code: "malformed", tensor: "b" },
    ],
    [
      "has a gap between tensors",
      build({ a: tensor([1], 0, 4), b: tensor([1], 8, 12) }, 12),
      { code: "malformed", tensor: "b" },
    ],
    [
      "has a shape that does not fit",
      build({ a: tensor([3], 0, 8) }, 8),
      { code: "malformed", tensor: "a", expected: "12 bytes", actual: 8 },
    ],
    [
      "has offsets beyond the file",
      build({ a: tensor([4], 0, 16) }, 8),
      { code: "malformed", tensor: "a" },
    ],
    [
      "has offsets the wrong way round",
      build({ a: tensor([1], 4, 0) }, 4),
      { code: "malformed", tensor: "a" },
    ],
    [
      "has negative sizes",
      build({ a: tensor([-1, -1], 0, 4) }, 4),
      { code: "malformed", tensor: "a" },
    ],
    [
      "has sizes that overflow",
      build({ a: tensor([2 ** 52, 2 ** 52], 0, 4) }, 4),
      { code: "malformed", tensor: "a" },
    ],
    [
      "has fractional sizes",
      build({ a: tensor([0.5, 2], 0, 4) }, 4),
      { code: "malformed", tensor: "a" },
    ],
    [
      "has a type that nobody knows",
      build({ a: tensor([1], 0, 4, "F13") }, 4),
      { code: "unsupported", tensor: "a", actual: '"F13"' },
    ],
    ["has an entry that is no object", build({ a: 5 }, 0), { code: "malformed", tensor: "a" }],
  ])("is refused where it %s", async (_, bytes, expected) => {
    expect(await refusal(bytes)).toMatchObject(expected);
  });

  it("is refused with nothing but typed errors, or read, whatever bytes are changed", async () => {
    const headerBytes = Number(new DataView(fixture.buffer).getBigUint64(0, true));
    let seed = 1;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    let refused = 0;
    for (let round = 0; round < 3000; round++) {
      const bytes = fixture.slice(0, random(4) === 0 ? random(fixture.length) : fixture.length);
      for (let change = random(4); change >= 0; change--)
        bytes[random(Math.min(bytes.length, 8 + headerBytes))] = random(256);
      try {
        const source = await openSafetensors(memoryFile("x", bytes));
        for (const name of source.names().slice(0, 3)) source.matrix(name, "q8_0");
      } catch (error) {
        if (!(error instanceof WeightsError)) throw error;
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(2000);
  });
});

/** The fixture cut into two shards, and the index that lists them. */
async function shards(): Promise<{
  files: Map<string, Uint8Array>;
  weightMap: Record<string, string>;
}> {
  const source = await openSafetensors(memoryFile("model.safetensors", fixture));
  const files = new Map<string, Uint8Array>();
  const weightMap: Record<string, string> = {};
  for (const [k, part] of [source.names().slice(0, 10), source.names().slice(10)].entries()) {
    const header: Record<string, object> = {};
    const data: Uint8Array[] = [];
    let at = 0;
    for (const name of part) {
      const { shape, bytes } = source.info(name);
      header[name] = tensor(shape, at, at + bytes);
      data.push(await source.readStored(name, 0, bytes));
      at += bytes;
      weightMap[name] = `model-0000${k + 1}-of-00002.safetensors`;
    }
    const shard = build(header, at);
    let end = shard.length - at;
    for (const piece of data) {
      shard.set(piece, end);
      end += piece.length;
    }
    files.set(`model-0000${k + 1}-of-00002.safetensors`, shard);
  }
  return { files, weightMap };
}

async function open(
  files: ReadonlyMap<string, Uint8Array>,
  weightMap: unknown,
): ReturnType<typeof openShards> {
  const index = utf8.encode(JSON.stringify({ metadata: {}, weight_map: weightMap }));
  return openShards(
    index,
    "model.safetensors.index.json",
    new Map([...files].map(([name, bytes]) => [name, memoryFile(name, bytes)])),
  );
}

describe("a sharded model", () => {
  it("gives the tensors of the whole one", async () => {
    const { files, weightMap } = await shards();
    const whole = await openSafetensors(memoryFile("model.safetensors", fixture));
    const source = await open(files, weightMap);
    expect(source.names().toSorted()).toEqual(whole.names().toSorted());
    for (const name of whole.names())
      expect(await source.readF32(name)).toEqual(await whole.readF32(name));
  });

  it("is opened as a folder", async () => {
    const { files, weightMap } = await shards();
    const index = utf8.encode(JSON.stringify({ weight_map: weightMap }));
    const folderFiles = [
      ...files,
      ["config.json", config] as const,
      ["model.safetensors.index.json", index] as const,
    ];
    const model = await openModel(folderFiles.map(([name, bytes]) => memoryFile(name, bytes)));
    expect(model).toMatchObject({
      config: { format: "safetensors", modelType: "mamba" },
      stopIds: [2],
    });
  });

  it("is refused where a shard or a tensor in it is missing", async () => {
    const { files, weightMap } = await shards();
    await expect(open(new Map([...files].slice(1)), weightMap)).rejects.toMatchObject({
      code: "missing",
    });
    await expect(
      open(files, { ...weightMap, extra: "model-00001-of-00002.safetensors" }),
    ).rejects.toMatchObject({ code: "missing", tensor: "extra" });
  });

  it.each([
    "../secret.safetensors",
    "a/b.safetensors",
    "a\\b.safetensors",
    "/etc/passwd",
    "..safetensors",
    "x\0.safetensors",
    "model.bin",
    5,
    null,
  ])("is refused where the index names the shard %j", async (shard) => {
    await expect(open(new Map(), { a: shard })).rejects.toMatchObject({
      code: "malformed",
      tensor: "a",
    });
  });

  it.each([[], null, "x"])(
    "is refused where the index has the weight map %j",
    async (weightMap) => {
      await expect(open(new Map(), weightMap)).rejects.toMatchObject({ code: "malformed" });
    },
  );
});
