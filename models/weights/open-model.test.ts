import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parseConfig } from "./config.ts";
import { ggufBytes, type GgufEntries } from "../convert/gguf-writer.ts";
import { WeightsError } from "./errors.ts";
import { memoryFile } from "./memory-file.ts";
import { openModel, type OpenedModel } from "./open-model.ts";
import type { RandomAccessFile } from "./source.ts";

const fixtures = new URL("../../e2e/fixtures/models/", import.meta.url);
const read = (path: string): Uint8Array<ArrayBuffer> =>
  new Uint8Array(readFileSync(new URL(path, fixtures)));
const utf8 = new TextEncoder();
const parse = (text: string): unknown => parseConfig(utf8.encode(text), "config.json");

function folder(changes: Readonly<Record<string, Uint8Array | null>> = {}): RandomAccessFile[] {
  const files = {
    "config.json": read("mamba2/config.json"),
    "model.safetensors": read("mamba2/model.safetensors"),
    ...changes,
  };
  return Object.entries(files).flatMap(([name, bytes]) =>
    bytes === null ? [] : [memoryFile(name, bytes)],
  );
}

async function identity(
  changes: Readonly<Record<string, Uint8Array>>,
  quantise: "q8_0" | null = null,
): Promise<string> {
  return (await openModel(folder(changes))).identity(quantise);
}

describe("parseConfig", () => {
  it("reads infinity in the new and the old spelling of the same configuration", () => {
    const config = parseConfig(read("mamba2/config.json"), "config.json");
    const legacy = parseConfig(read("mamba2/config.legacy.json"), "config.json");
    expect(config["time_step_limit"]).toEqual([0, Infinity]);
    expect(legacy["time_step_limit"]).toEqual([0, Infinity]);
    expect(legacy["hidden_size"]).toBe(config["hidden_size"]);
  });

  it("takes bare numbers that are none, but not inside strings", () => {
    expect(
      parse(
        '{"a": [-Infinity, Infinity], "b": "Infinity, NaN", "c": {"__float__": "-Infinity"}, "d": "\\"NaN\\\\"}',
      ),
    ).toEqual({
      a: [-Infinity, Infinity],
      b: "Infinity, NaN",
      c: -Infinity,
      d: '"NaN\\',
    });
    expect(parse('{"a": NaN, "b": {"__float__": "NaN"}}')).toEqual({ a: NaN, b: NaN });
  });

  it("reads strict JSON as JSON.parse does", () => {
    const text =
      '{"a":[1,-2.5e-3,0,true,false,null,"\\u00e4\\n\\ud83d\\ude00 ä😀",{}],"__proto__":{"x":1},"":[[]]}';
    expect(JSON.stringify(parse(text))).toBe(JSON.stringify(JSON.parse(text)));
    expect(({} as { x?: unknown }).x).toBeUndefined();
  });

  it.each([
    "",
    "[]",
    "5",
    "{",
    '{"a"}',
    '{"a":}',
    '{"a":1,}',
    '{"a":01}',
    '{"a":+1}',
    '{"a":.5}',
    '{"a":"\n"}',
    '{"a":"\\x"}',
    '{"a":1} x',
    '{"a":1,"a":2}',
    "{'a':1}",
    '{"a":Infinit}',
    '{"a":{"__float__":"5"}}',
    '{"a":"',
  ])("refuses %j with a typed error", (text) => {
    expect(() => parse(text)).toThrow(WeightsError);
  });
});

async function ggufModel(entries: GgufEntries): Promise<OpenedModel> {
  const pieces: Uint8Array[] = [];
  const all: GgufEntries = [["general.architecture", { type: "string", value: "x" }], ...entries];
  for await (const piece of ggufBytes(all, [])) pieces.push(piece);
  const bytes = new Uint8Array(await new Blob(pieces.map((piece) => piece.slice())).arrayBuffer());
  return openModel([memoryFile("x.gguf", bytes)]);
}

describe("openModel", () => {
  it("closes the files it was given when it refuses them", async () => {
    let closed = 0;
    const files = folder({ "config.json": utf8.encode("{") }).map((file) => ({
      ...file,
      close: async () => {
        closed += 1;
      },
    }));
    await expect(openModel(files)).rejects.toThrow(WeightsError);
    expect(closed).toBe(2);
  });

  it.each(["config.json", "model.safetensors"])("says that %s is missing", async (name) => {
    await expect(openModel(folder({ [name]: null }))).rejects.toMatchObject({
      code: "missing",
      file: name,
    });
  });

  it("joins the stop ids of both configurations", async () => {
    const model = await openModel(
      folder({ "generation_config.json": utf8.encode('{"eos_token_id": [7, 2, "x", -1]}') }),
    );
    expect(model.stopIds).toEqual([7, 2]);
  });

  it("ends texts of RWKV's vocabularies with the token 0, and others with control tokens of known names", async () => {
    const stopIds = async (
      model: string,
      tokens: readonly string[],
    ): Promise<readonly number[]> => {
      // The last is an ordinary token.
      const types = tokens.map((_, id) => (id === tokens.length - 1 ? 1 : 3));
      const opened = await ggufModel([
        ["tokenizer.ggml.model", { type: "string", value: model }],
        ["tokenizer.ggml.tokens", { type: "string[]", value: tokens }],
        ["tokenizer.ggml.token_type", { type: "i32[]", value: types }],
        ["tokenizer.ggml.eos_token_id", { type: "u32", value: 2 }],
      ]);
      return opened.stopIds.toSorted((a, b) => a - b);
    };
    expect(await stopIds("rwkv", ["<s>", "a", "b", "c"])).toEqual([0, 2]);
    const names = ["<s>", "a", "b", "[EOS]", "<|im_end|>", "</s>"];
    expect(await stopIds("gpt2", names)).toEqual([2, 3, 4]);
  });

  it("turns failed and short reads into typed errors", async () => {
    const files = (read: RandomAccessFile["read"]): RandomAccessFile[] =>
      folder().map((file) => ({ ...file, read }));
    await expect(
      openModel(files(async () => Promise.reject(new Error("EIO")))),
    ).rejects.toMatchObject({ code: "io" });
    await expect(openModel(files(async () => new Uint8Array(1)))).rejects.toMatchObject({
      code: "io",
    });
  });
});

describe("a model's identity", () => {
  it("is the same for the same files, and another for another configuration, weight, or rounding", async () => {
    const own = await identity({});
    expect(own).toMatch(/^[0-9a-f]{64}$/);
    expect(await identity({})).toBe(own);
    const weights = read("mamba2/model.safetensors");
    weights[weights.length - 1] = (weights.at(-1) ?? 0) ^ 1;
    const others = [
      await identity({ "model.safetensors": weights }),
      await identity({ "config.json": read("mamba2/config.legacy.json") }),
      await identity({}, "q8_0"),
    ];
    expect(new Set([own, ...others]).size).toBe(4);
  });
});
