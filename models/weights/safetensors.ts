/**
 * The safetensors format: eight bytes of length, a JSON header, then the tensors without gaps. A model may be one
 * file, or shards that `model.safetensors.index.json` lists. Everything in a header is checked before it is used to
 * allocate or to read. Source: https://github.com/huggingface/safetensors (README, "Format").
 */
import { storedBytes } from "./convert.ts";
import { WeightsError } from "./errors.ts";
import { isJsonObject, parseJson, type JsonValue } from "./json.ts";
import type { RandomAccessFile, SourceDType } from "./source.ts";
import { count, readExactly, StoredTensors, type StoredTensor } from "./stored-tensors.ts";

/** The limit of the reference implementation. */
const MAX_HEADER_BYTES = 100_000_000;
const MAX_DIMENSIONS = 8;

const DTYPES: ReadonlyMap<JsonValue, SourceDType> = new Map([
  ["F64", "f64"],
  ["F32", "f32"],
  ["F16", "f16"],
  ["BF16", "bf16"],
  ["I64", "i64"],
  ["U64", "u64"],
  ["I32", "i32"],
  ["U32", "u32"],
  ["I16", "i16"],
  ["U16", "u16"],
  ["I8", "i8"],
  ["U8", "u8"],
  ["BOOL", "bool"],
]);

/**
 * Opens one file.
 * @throws WeightsError `malformed`, `unsupported`, `io`
 */
export async function openSafetensors(file: RandomAccessFile): Promise<StoredTensors> {
  return new StoredTensors("safetensors", await readHeader(file), [file]);
}

/**
 * Opens the shards that an index lists.
 * @param index bytes of `model.safetensors.index.json`
 * @param files the model folder's files, by name
 * @throws WeightsError `malformed`, `missing` (a shard, or a tensor in its shard), `unsupported`, `io`
 */
export async function openShards(
  index: Uint8Array,
  indexName: string,
  files: ReadonlyMap<string, RandomAccessFile>,
): Promise<StoredTensors> {
  const shardOf = parseIndex(index, indexName);
  const tensors = new Map<string, StoredTensor>();
  const opened = new Map<string, ReadonlyMap<string, StoredTensor>>();
  const used: RandomAccessFile[] = [];
  for (const [name, shard] of shardOf) {
    let header = opened.get(shard);
    if (header === undefined) {
      const file = files.get(shard);
      if (file === undefined) {
        throw new WeightsError("missing", {
          file: indexName,
          tensor: name,
          reason: `the shard "${shard}" is not in the model folder`,
        });
      }
      header = await readHeader(file);
      opened.set(shard, header);
      used.push(file);
    }
    const tensor = header.get(name);
    if (tensor === undefined) {
      throw new WeightsError("missing", {
        file: shard,
        tensor: name,
        reason: `${indexName} places the tensor in this shard, but it is not there`,
      });
    }
    tensors.set(name, tensor);
  }
  return new StoredTensors("safetensors", tensors, used);
}

function parseIndex(bytes: Uint8Array, file: string): Map<string, string> {
  const json = parseJson(bytes, file);
  const weightMap = isJsonObject(json) ? json["weight_map"] : undefined;
  if (!isJsonObject(weightMap))
    throw new WeightsError("malformed", { file, reason: 'there is no object "weight_map"' });
  const shardOf = new Map<string, string>();
  for (const [name, shard] of Object.entries(weightMap)) {
    // Shards lie beside the index. Anything else could name a file that is none of the model's business.
    if (
      typeof shard !== "string" ||
      !/^[^/\\\0]+\.safetensors$/.test(shard) ||
      shard.startsWith("..")
    ) {
      throw new WeightsError("malformed", {
        file,
        tensor: name,
        reason: "the shard is not the name of a file in the model folder",
        expected: "*.safetensors",
        actual: JSON.stringify(shard),
      });
    }
    shardOf.set(name, shard);
  }
  return shardOf;
}

async function readHeader(file: RandomAccessFile): Promise<ReadonlyMap<string, StoredTensor>> {
  if (file.bytes < 8)
    throw new WeightsError("malformed", {
      file: file.name,
      reason: "the file is too short for a header",
      expected: "8 bytes or more",
      actual: file.bytes,
    });
  const prefix = await readExactly(file, 0, 8);
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  if (length > BigInt(Math.min(file.bytes - 8, MAX_HEADER_BYTES))) {
    throw new WeightsError("malformed", {
      file: file.name,
      reason: "the header's length goes beyond the file or the format's limit",
      expected: `at most ${Math.min(file.bytes - 8, MAX_HEADER_BYTES)}`,
      actual: String(length),
    });
  }
  const headerBytes = Number(length);
  const json = parseJson(await readExactly(file, 8, headerBytes), file.name);
  if (!isJsonObject(json))
    throw new WeightsError("malformed", {
      file: file.name,
      reason: "the header is not a JSON object",
    });
  const tensors: StoredTensor[] = [];
  for (const [name, entry] of Object.entries(json)) {
    if (name !== "__metadata__") tensors.push(parseEntry(file, name, entry, 8 + headerBytes));
  }
  checkContiguous(file, tensors, 8 + headerBytes);
  return new Map(tensors.map((tensor) => [tensor.name, tensor]));
}

function parseEntry(
  file: RandomAccessFile,
  name: string,
  entry: JsonValue,
  dataStart: number,
): StoredTensor {
  const where = { file: file.name, tensor: name };
  if (!isJsonObject(entry))
    throw new WeightsError("malformed", {
      ...where,
      reason: "the header's entry is not an object",
    });
  const dtype = DTYPES.get(entry["dtype"] ?? null);
  if (dtype === undefined) {
    throw new WeightsError("unsupported", {
      ...where,
      reason: "the type is not one that Tarn reads",
      expected: [...DTYPES.keys()].join(", "),
      actual: JSON.stringify(entry["dtype"]),
    });
  }
  const shape = entry["shape"];
  if (!isSizes(shape) || shape.length > MAX_DIMENSIONS || !Number.isSafeInteger(count(shape) * 8)) {
    throw new WeightsError("malformed", {
      ...where,
      reason: "the shape is not a short list of sizes",
      actual: short(shape),
    });
  }
  const offsets = entry["data_offsets"];
  const [from, to] = isSizes(offsets) && offsets.length === 2 ? offsets : [];
  if (from === undefined || to === undefined || from > to || dataStart + to > file.bytes) {
    throw new WeightsError("malformed", {
      ...where,
      reason: "the offsets are not a range within the file",
      expected: `0 … ${file.bytes - dataStart}`,
      actual: short(offsets),
    });
  }
  const bytes = storedBytes(dtype, count(shape));
  if (to - from !== bytes) {
    throw new WeightsError("malformed", {
      ...where,
      reason: `type ${dtype} and shape (${shape.join(", ")}) do not fit the offsets`,
      expected: `${bytes} bytes`,
      actual: to - from,
    });
  }
  return { name, dtype, shape, bytes, file, offset: dataStart + from };
}

/** The format wants every byte behind the header to belong to exactly one tensor. */
function checkContiguous(
  file: RandomAccessFile,
  tensors: readonly StoredTensor[],
  dataStart: number,
): void {
  let end = dataStart;
  for (const tensor of tensors.toSorted((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    if (tensor.offset !== end) {
      const reason =
        tensor.offset < end
          ? "the tensor overlaps the one before it"
          : "there is a gap before the tensor";
      throw new WeightsError("malformed", {
        file: file.name,
        tensor: tensor.name,
        reason,
        expected: `offset ${end - dataStart}`,
        actual: tensor.offset - dataStart,
      });
    }
    end += tensor.bytes;
  }
  if (end !== file.bytes) {
    throw new WeightsError("malformed", {
      file: file.name,
      reason: "the tensors do not fill the file (is it cut off?)",
      expected: `${end} bytes`,
      actual: file.bytes,
    });
  }
}

function isSizes(value: JsonValue | undefined): value is readonly number[] {
  return (
    Array.isArray(value) &&
    value.every((side) => typeof side === "number" && Number.isSafeInteger(side) && side >= 0)
  );
}

function short(value: JsonValue | undefined): string {
  return (JSON.stringify(value) ?? "nothing").slice(0, 80);
}
