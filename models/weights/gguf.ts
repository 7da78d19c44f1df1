/**
 * The GGUF format, versions 2 and 3: a header, metadata, tensor descriptions, then aligned data. ggml lists
 * dimensions fastest first; here they are turned round once. Source: ggml's docs/gguf.md.
 */
import { blockValues, storedBytes } from "./convert.ts";
import { WeightsError } from "./errors.ts";
import { GgufCursor, readMetadata, type GgufMetadata } from "./gguf-metadata.ts";
import type { RandomAccessFile, SourceDType } from "./source.ts";
import { count, StoredTensors, type StoredTensor } from "./stored-tensors.ts";

/** "GGUF" */
const MAGIC = 0x4655_4747;
/** GGML_MAX_DIMS */
const MAX_DIMENSIONS = 4;
/** GGML_MAX_NAME is 64; some converters write longer names. */
const MAX_NAME_BYTES = 1024;
const DEFAULT_ALIGNMENT = 32;

/** ggml_type by number; those with a `dtype` are read. Source: ggml.h. */
const GGML_TYPES: ReadonlyMap<number, { readonly name: string; readonly dtype?: SourceDType }> =
  new Map([
    [0, { name: "F32", dtype: "f32" }],
    [1, { name: "F16", dtype: "f16" }],
    [8, { name: "Q8_0", dtype: "q8_0" }],
    [30, { name: "BF16", dtype: "bf16" }],
    [24, { name: "I8", dtype: "i8" }],
    [25, { name: "I16", dtype: "i16" }],
    [26, { name: "I32", dtype: "i32" }],
    [27, { name: "I64", dtype: "i64" }],
    [28, { name: "F64", dtype: "f64" }],
    [2, { name: "Q4_0", dtype: "q4_0" }],
    [3, { name: "Q4_1", dtype: "q4_1" }],
    [6, { name: "Q5_0", dtype: "q5_0" }],
    [7, { name: "Q5_1", dtype: "q5_1" }],
    [9, { name: "Q8_1" }],
    [10, { name: "Q2_K", dtype: "q2_k" }],
    [11, { name: "Q3_K", dtype: "q3_k" }],
    [12, { name: "Q4_K", dtype: "q4_k" }],
    [13, { name: "Q5_K", dtype: "q5_k" }],
    [14, { name: "Q6_K", dtype: "q6_k" }],
    [15, { name: "Q8_K" }],
    [16, { name: "IQ2_XXS", dtype: "iq2_xxs" }],
    [17, { name: "IQ2_XS", dtype: "iq2_xs" }],
    [18, { name: "IQ3_XXS", dtype: "iq3_xxs" }],
    [19, { name: "IQ1_S", dtype: "iq1_s" }],
    [20, { name: "IQ4_NL", dtype: "iq4_nl" }],
    [21, { name: "IQ3_S", dtype: "iq3_s" }],
    [22, { name: "IQ2_S", dtype: "iq2_s" }],
    [23, { name: "IQ4_XS", dtype: "iq4_xs" }],
    [29, { name: "IQ1_M", dtype: "iq1_m" }],
    [34, { name: "TQ1_0", dtype: "tq1_0" }],
    [35, { name: "TQ2_0", dtype: "tq2_0" }],
    [39, { name: "MXFP4", dtype: "mxfp4" }],
  ]);

/** A GGUF model: what its first file says of it, and the tensors of all of them. */
export interface GgufFile {
  readonly metadata: GgufMetadata;
  readonly tensors: StoredTensors;
}

/**
 * Opens a GGUF model from its file, or from all of the files that it is split into, in any order.
 * @throws WeightsError `malformed`, `missing`, `unsupported`, `io`
 */
export async function openGguf(files: readonly RandomAccessFile[]): Promise<GgufFile> {
  const parts: GgufPart[] = [];
  for (const file of files) parts.push(await readPart(file));
  const first = checkSplit(parts);
  const tensors = new Map<string, StoredTensor>();
  for (const part of parts) {
    for (const [name, tensor] of part.tensors) {
      if (tensors.has(name)) {
        throw new WeightsError("malformed", {
          file: part.file.name,
          tensor: name,
          reason: "the tensor is in another part of the model too",
        });
      }
      tensors.set(name, tensor);
    }
  }
  return { metadata: first.metadata, tensors: new StoredTensors("gguf", tensors, files) };
}

/**
 * What a GGUF file says of itself; of a split model, its first file.
 * @throws WeightsError as `openGguf`
 */
export async function readGgufMetadata(file: RandomAccessFile): Promise<GgufMetadata> {
  return (await readPart(file)).metadata;
}

interface GgufPart {
  readonly file: RandomAccessFile;
  readonly metadata: GgufMetadata;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

async function readPart(file: RandomAccessFile): Promise<GgufPart> {
  const cursor = new GgufCursor(file);
  if (file.bytes < 24)
    throw new WeightsError("malformed", {
      file: file.name,
      reason: "the file is too short for a header",
      expected: "24 bytes or more",
      actual: file.bytes,
    });
  if ((await cursor.u32()) !== MAGIC)
    throw new WeightsError("malformed", {
      file: file.name,
      reason: 'the file does not begin with "GGUF"',
    });
  const version = await cursor.u32();
  if (version !== 2 && version !== 3) {
    throw new WeightsError("unsupported", {
      file: file.name,
      reason: "the GGUF version is not one that Tarn reads",
      expected: "2 or 3 (little endian)",
      actual: version,
    });
  }
  const tensorCount = await cursor.size("the number of tensors");
  const metadata = await readMetadata(cursor, await cursor.size("the number of metadata keys"));
  return {
    file,
    metadata,
    tensors: await readTensors(cursor, tensorCount, alignment(file, metadata)),
  };
}

/**
 * That the parts are all of one model's, each once; returns the one that describes it.
 * Source: llama.cpp, tools/gguf-split.
 */
function checkSplit(parts: readonly GgufPart[]): GgufPart {
  const numbered = parts.map((part) => {
    const number = part.metadata.get("split.no");
    const count = part.metadata.get("split.count");
    return {
      part,
      number: typeof number === "number" ? number : 0,
      count: typeof count === "number" && count > 0 ? count : 1,
    };
  });
  const first = numbered.find(({ number }) => number === 0) ?? numbered[0];
  if (first === undefined)
    throw new WeightsError("missing", { file: "", reason: "there is no GGUF file" });
  const where = { file: first.part.file.name };
  const present = new Set(numbered.map(({ number }) => number));
  for (let number = 0; number < first.count; number++) {
    // A count that lies is met by the first number that is not there.
    if (!present.has(number)) {
      throw new WeightsError("missing", {
        ...where,
        reason: `part ${number + 1} of the ${first.count} files that the model is split into is not beside it`,
        expected: `${first.count} files`,
        actual: parts.length,
      });
    }
  }
  if (parts.length !== first.count || numbered.some(({ count }) => count !== first.count)) {
    throw new WeightsError("malformed", {
      ...where,
      reason: "the GGUF files are not the parts of one model",
      expected: `${first.count} files`,
      actual: parts.length,
    });
  }
  const expected = first.part.metadata.get("split.tensors.count");
  const actual = parts.reduce((sum, part) => sum + part.tensors.size, 0);
  if (typeof expected === "number" && expected !== actual) {
    throw new WeightsError("malformed", {
      ...where,
      reason: "the parts have another number of tensors than the model",
      expected,
      actual,
    });
  }
  return first.part;
}

function alignment(file: RandomAccessFile, metadata: GgufMetadata): number {
  const value = metadata.get("general.alignment") ?? DEFAULT_ALIGNMENT;
  if (
    typeof value === "number" &&
    Number.isInteger(value) &&
    value >= 1 &&
    value <= 65_536 &&
    (value & (value - 1)) === 0
  )
    return value;
  throw new WeightsError("malformed", {
    file: file.name,
    reason: "general.alignment is not a power of two up to 65536",
    actual: String(value),
  });
}

interface Description {
  readonly name: string;
  readonly dtype: SourceDType;
  readonly shape: readonly number[];
  readonly bytes: number;
  /** From the start of the data. */
  readonly offset: number;
}

async function readTensors(
  cursor: GgufCursor,
  tensorCount: number,
  align: number,
): Promise<ReadonlyMap<string, StoredTensor>> {
  // An empty name, no dimension, a type and an offset: 8 + 4 + 4 + 8.
  if (tensorCount * 24 > cursor.left)
    throw cursor.malformed(
      "there are more tensors announced than the file has room for",
      tensorCount,
    );
  const descriptions: Description[] = [];
  for (let i = 0; i < tensorCount; i++) descriptions.push(await readDescription(cursor));
  const dataStart = Math.ceil(cursor.at / align) * align;
  const { file } = cursor;
  const tensors = new Map<string, StoredTensor>();
  let end = 0;
  for (const tensor of descriptions.toSorted((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    const where = { file: file.name, tensor: tensor.name };
    if (tensors.has(tensor.name))
      throw new WeightsError("malformed", { ...where, reason: "the tensor is there twice" });
    if (tensor.offset % align !== 0)
      throw new WeightsError("malformed", {
        ...where,
        reason: "the offset is not aligned",
        expected: `a multiple of ${align}`,
        actual: tensor.offset,
      });
    if (tensor.offset < end)
      throw new WeightsError("malformed", {
        ...where,
        reason: "the tensor overlaps the one before it",
        expected: `offset ${end} or more`,
        actual: tensor.offset,
      });
    end = tensor.offset + tensor.bytes;
    if (dataStart + end > file.bytes) {
      throw new WeightsError("malformed", {
        ...where,
        reason: "the tensor goes beyond the end of the file (is it cut off?)",
        expected: `${dataStart + end} bytes`,
        actual: file.bytes,
      });
    }
    tensors.set(tensor.name, { ...tensor, file, offset: dataStart + tensor.offset });
  }
  return tensors;
}

async function readDescription(cursor: GgufCursor): Promise<Description> {
  const name = await cursor.string("a tensor's name", MAX_NAME_BYTES);
  const where = { file: cursor.file.name, tensor: name };
  const dimensions = await cursor.u32();
  if (dimensions > MAX_DIMENSIONS)
    throw new WeightsError("malformed", {
      ...where,
      reason: "the tensor has too many dimensions",
      expected: `at most ${MAX_DIMENSIONS}`,
      actual: dimensions,
    });
  const fastestFirst: number[] = [];
  for (let i = 0; i < dimensions; i++)
    fastestFirst.push(await cursor.size(`a dimension of "${name}"`));
  const type = await cursor.u32();
  const offset = await cursor.size(`the offset of "${name}"`);
  const known = GGML_TYPES.get(type);
  if (known?.dtype === undefined) {
    throw new WeightsError("unsupported", {
      ...where,
      reason: "the tensor's type is not one that Tarn reads",
      expected: "a type of floating-point numbers or blocks that ggml has today",
      actual: known?.name ?? `type ${type}`,
    });
  }
  const shape = fastestFirst.toReversed();
  if (!Number.isSafeInteger(count(shape) * 8))
    throw new WeightsError("malformed", {
      ...where,
      reason: "the tensor is too large",
      actual: shape.join(" × "),
    });
  const block = blockValues(known.dtype);
  if ((shape.at(-1) ?? 1) % block !== 0) {
    throw new WeightsError("malformed", {
      ...where,
      reason: `rows of ${known.name} come in blocks`,
      expected: `a multiple of ${block} columns`,
      actual: shape.at(-1) ?? 0,
    });
  }
  return { name, dtype: known.dtype, shape, bytes: storedBytes(known.dtype, count(shape)), offset };
}
