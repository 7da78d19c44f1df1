/** Files of others, damaged: each must be read or refused with a WeightsError that names what is wrong. */
import { test } from "vitest";
import { ggufBytes, type GgufEntries, type GgufTensor } from "../convert/gguf-writer.ts";
import { damagedBytes, damagedJson } from "../testing/mutations.ts";
import { fuzz, watchedFile } from "../testing/fuzz.ts";
import { parseConfig } from "./config.ts";
import { WeightsError } from "./errors.ts";
import { openGguf } from "./gguf.ts";
import { openSafetensors, openShards } from "./safetensors.ts";
import type { TensorSource } from "./source.ts";

const text = new TextEncoder();

function isRefusal(error: unknown): boolean {
  return error instanceof WeightsError && error.message.length > 0;
}

/** Reads all that a loader could read. */
async function readAll(source: TensorSource): Promise<void> {
  for (const name of source.names()) {
    source.info(name);
    try {
      await source.readF32(name);
      const { rows, read } = source.matrix(name, "q8_0");
      if (rows > 0) await read(0, 1);
    } catch (error) {
      // A tensor of whole numbers is fine in a file, and no weight.
      if (!(error instanceof WeightsError && error.code === "unsupported")) throw error;
    }
  }
}

async function tinyGguf(): Promise<Uint8Array> {
  const tensor = (
    name: string,
    dtype: GgufTensor["dtype"],
    shape: number[],
    bytes: number,
  ): GgufTensor => ({
    name,
    dtype,
    shape,
    async *pieces() {
      yield new Uint8Array(bytes).fill(0x3c);
    },
  });
  const entries: GgufEntries = [
    ["general.architecture", { type: "string", value: "mamba2" }],
    ["general.alignment", { type: "u32", value: 32 }],
    ["mamba2.block_count", { type: "u32", value: 2 }],
    ["mamba2.eps", { type: "f32", value: 1e-5 }],
    ["tokenizer.ggml.tokens", { type: "string[]", value: ["<s>", "a", "b", "ab"] }],
    ["tokenizer.ggml.scores", { type: "f32[]", value: [0, -1, -2, -3] }],
    ["tokenizer.ggml.token_type", { type: "i32[]", value: [3, 1, 1, 1] }],
    ["flag", { type: "bool", value: true }],
  ];
  const pieces: Uint8Array[] = [];
  const tensors = [
    tensor("token_embd.weight", "f16", [4, 8], 64),
    tensor("blk.0.ssm_in.weight", "q8_0", [2, 32], 68),
    tensor("blk.0.ssm_out.weight", "q4_k", [1, 256], 144),
    tensor("output_norm.weight", "f32", [8], 32),
  ];
  for await (const piece of ggufBytes(entries, tensors)) pieces.push(piece.slice());
  return Buffer.concat(pieces);
}

function tinySafetensors(names: readonly string[]): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  names.forEach((name, i) => {
    header[name] = { dtype: i === 0 ? "BF16" : "F32", shape: [2, 2 + 2 * i], data_offsets: [0, 0] };
  });
  let end = 0;
  names.forEach((name, i) => {
    const bytes = i === 0 ? 8 : 8 * (2 + 2 * i);
    header[name] = {
      dtype: i === 0 ? "BF16" : "F32",
      shape: [2, 2 + 2 * i],
      data_offsets: [end, end + bytes],
    };
    end += bytes;
  });
  const json = text.encode(JSON.stringify(header));
  const out = new Uint8Array(8 + json.length + end);
  new DataView(out.buffer).setBigUint64(0, BigInt(json.length), true);
  out.set(json, 8);
  return out;
}

test("GGUF", async () => {
  await fuzz(
    damagedBytes([await tinyGguf()]),
    async (bytes) => readAll((await openGguf([watchedFile("m.gguf", bytes)])).tensors),
    isRefusal,
  );
});

test("safetensors", async () => {
  await fuzz(
    damagedBytes([tinySafetensors(["a", "b"]), tinySafetensors(["only"])]),
    async (bytes) => readAll(await openSafetensors(watchedFile("m.safetensors", bytes))),
    isRefusal,
  );
});

test("an index of shards", async () => {
  const shards = new Map(
    ["one", "two"].map((name) => [`${name}.safetensors`, tinySafetensors([name])]),
  );
  const index = {
    metadata: { total_size: 16 },
    weight_map: { one: "one.safetensors", two: "two.safetensors" },
  };
  await fuzz(
    damagedJson([index]).map((value) => text.encode(JSON.stringify(value))),
    async (bytes) => {
      const files = [...shards].map(([name, shard]): [string, ReturnType<typeof watchedFile>] => [
        name,
        watchedFile(name, shard),
      ]);
      await readAll(await openShards(bytes, "model.safetensors.index.json", new Map(files)));
    },
    isRefusal,
  );
});

test("the text of a configuration", async () => {
  const config = '{"a": [1, -2.5e3, Infinity, {"__float__": "NaN"}], "b": "\\u00e9\\n", "c": null}';
  await fuzz(
    damagedBytes([text.encode(config)]),
    (bytes) => void parseConfig(bytes, "config.json"),
    isRefusal,
  );
});
