/** A model of any layout → a GGUF file that llama.cpp runs too, under its names. */
import { isWholeBlocks, type WeightDType } from "../../kernels/spec/dtype.ts";
import type { GgufDescription, Model } from "../arch/architecture.ts";
import { describeModel } from "../arch/registry.ts";
import { quantise } from "../weights/blocks/quantise.ts";
import { encodeF32 } from "../weights/convert.ts";
import { openModel } from "../weights/open-model.ts";
import { hintsAsGguf } from "../weights/sampler-hints.ts";
import type { RandomAccessFile, TensorSource } from "../weights/source.ts";
import { ConversionError } from "./errors.ts";
import type { GgufEntries, GgufTensor, GgufTyped } from "./gguf-writer.ts";
import { planTensors, type PlannedTensor } from "./tensor-plan.ts";

/** What matrices become, with llama.cpp's number for it (llama_ftype). */
export const QUANTISATIONS = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q8_0: 7,
  Q4_K_M: 15,
  Q5_K_M: 17,
  Q6_K: 18,
} as const;
export type Quantisation = keyof typeof QUANTISATIONS;

export interface Conversion {
  /** Everything but the tokenizer. */
  readonly entries: GgufEntries;
  readonly tensors: readonly GgufTensor[];
}

/** A conversion over open files. */
export interface OpenConversion extends Conversion {
  readonly modelType: string;
  /** Sentences for the user about what the model says and is not written. */
  readonly notices: readonly string[];
  /** Closes the files; tensors must not be asked for their pieces afterwards. */
  close(): Promise<void>;
}

/**
 * Opens a model of safetensors and plans its GGUF file. The files are owned by the result, and closed on failure.
 * @param name what the model is called, where it does not say so itself
 * @throws ConversionError, WeightsError, UnknownArchitectureError
 */
export async function openConversion(
  files: readonly RandomAccessFile[],
  name: string,
  quantisation: Quantisation,
): Promise<OpenConversion> {
  const opened = await openModel(files);
  try {
    if (opened.config.format === "gguf")
      throw new ConversionError(
        "The model is a GGUF file already; its values were rounded once, and are not rounded again. Convert the original.",
      );
    const model = describeModel(opened.config, opened.tensors);
    const { tensors } = opened;
    const planned = await planConversion(opened.name || name, model, tensors, quantisation);
    const entries = [...planned.entries, ...hintsAsGguf(opened.samplerHints)];
    const { notices } = opened;
    const close = (): Promise<void> => opened.close();
    return { ...planned, entries, modelType: model.modelType, notices, close };
  } catch (error) {
    await opened.close();
    throw error;
  }
}

/**
 * Plans the file; the weights are read when the tensors' pieces are asked for.
 * @throws ConversionError where llama.cpp has no such model; WeightsError as loading does
 */
export async function planConversion(
  name: string,
  model: Model,
  source: TensorSource,
  quantisation: Quantisation,
): Promise<Conversion> {
  const { gguf } = model;
  if (gguf === undefined) {
    throw new ConversionError(
      `llama.cpp runs no "${model.modelType}" model with this configuration, so there are no names to write it under. Use the model as it is.`,
      { modelType: model.modelType },
    );
  }
  const planned = await planTensors(model, source);
  const tensors = [...planned, ...copies(planned, gguf)].map((tensor) => multiplied(tensor, gguf));
  return {
    entries: [
      ["general.architecture", { type: "string", value: gguf.architecture }],
      ["general.name", { type: "string", value: name }],
      ["general.file_type", { type: "u32", value: QUANTISATIONS[quantisation] }],
      ["general.quantization_version", { type: "u32", value: 2 }],
      // Rows of the embedding: what llama.cpp goes by where the file has no tokenizer.
      ...Object.entries({ vocab_size: model.vocabSize, ...gguf.fields }).map(
        ([field, value]): [string, GgufTyped] => [
          `${gguf.architecture}.${field}`,
          typed(field, value),
        ],
      ),
    ],
    tensors: tensors.map((tensor) => written(tensor, gguf, quantisation)),
  };
}

/** The tensors that llama.cpp asks for though they are another's values, or nothing reads them. */
function copies(planned: readonly PlannedTensor[], gguf: GgufDescription): PlannedTensor[] {
  return Object.entries(gguf.copies ?? {}).map(([name, original]) => {
    const tensor = planned.find((other) => other.name === original);
    if (tensor === undefined)
      throw new ConversionError(`${name} has the values of ${original}, which is not there`);
    return { ...tensor, name };
  });
}

/** The tensor with the factors that llama.cpp has in it. */
function multiplied(tensor: PlannedTensor, gguf: GgufDescription): PlannedTensor {
  const factors = gguf.factors?.[withoutBlock(tensor.name)];
  if (factors === undefined) return tensor;
  const { name, rows, cols } = tensor;
  if (typeof factors !== "number" && factors.length !== rows)
    throw new ConversionError(`${name} has ${rows} rows, but ${factors.length} factors`);
  return {
    ...tensor,
    async read(first, count) {
      const values = await tensor.read(first, count);
      return values.map((value, i) => {
        const row = first + Math.floor(i / cols);
        return value * (typeof factors === "number" ? factors : (factors[row] ?? NaN));
      });
    },
  };
}

function withoutBlock(name: string): string {
  return name.replace(/^blk\.\d+\./, "");
}

/** Fields that llama.cpp reads as floating-point numbers, whole or not. */
const FLOAT_FIELDS = /epsilon|scale|freq_base|factor|softcapping|clamp|eps$|multiplier/;

function typed(field: string, value: GgufDescription["fields"][string]): GgufTyped {
  if (typeof value === "string") return { type: "string", value };
  if (typeof value === "boolean") return { type: "bool", value };
  if (typeof value === "number") {
    const whole = Number.isInteger(value) && value >= 0 && !FLOAT_FIELDS.test(field);
    return whole ? { type: "u32", value } : { type: "f32", value };
  }
  return value.every((one) => Number.isInteger(one))
    ? { type: "i32[]", value }
    : { type: "f32[]", value };
}

/** Bytes of f32 rows that are held at once. */
const PIECE_BYTES = 4 * 1024 * 1024;

function written(
  tensor: PlannedTensor,
  gguf: GgufDescription,
  quantisation: Quantisation,
): GgufTensor {
  const { name, rows, cols } = tensor;
  const dtype = chooseDType(tensor, quantisation);
  const rowsAtOnce = Math.max(1, Math.floor(PIECE_BYTES / (cols * 4)));
  return {
    name,
    dtype,
    shape: shapeOf(tensor, gguf),
    async *pieces() {
      for (let first = 0; first < rows; first += rowsAtOnce) {
        yield encode(dtype, await tensor.read(first, Math.min(rowsAtOnce, rows - first)));
      }
    },
  };
}

function encode(dtype: WeightDType, values: Float32Array): Uint8Array {
  switch (dtype) {
    case "f32":
    case "f16":
    case "bf16":
    case "q8_0":
      return encodeF32(dtype, values);
    default:
      return quantise(dtype, values);
  }
}

function shapeOf({ name, rows, cols }: PlannedTensor, gguf: GgufDescription): readonly number[] {
  const shape = gguf.shapes?.[withoutBlock(name)];
  if (shape !== undefined) {
    if (shape.reduce((product, side) => product * side, 1) === rows * cols) return shape;
    throw new ConversionError(`${name} is (${rows}, ${cols}) and cannot be (${shape.join(", ")})`);
  }
  const experts = gguf.fields["expert_count"];
  if (name.endsWith("_exps.weight") && typeof experts === "number")
    return [experts, rows / experts, cols];
  return rows === 1 ? [cols] : [rows, cols];
}

/** Small matrices whose errors are felt everywhere; llama.cpp's own tools leave them alone too. */
const PRECISE = /ffn_gate_inp|ssm_conv1d|shortconv\.conv|time_mix_(?!key|value|receptance|output)/;
/** The head, and the embedding that may serve as one. */
const HEAD = /^(output|token_embd)\.weight$/;
/** Matrices that llama.cpp's mixed types ("_M") give more bits. */
const FINER = /(attn_v|ffn_down|ffn_down_exps)\.weight$/;

function chooseDType({ name, use, cols }: PlannedTensor, quantisation: Quantisation): WeightDType {
  if (use === "vector" || PRECISE.test(name)) return "f32";
  const wanted = wantedDType(name, quantisation);
  const [fitting = "f16"] = [wanted, "q8_0" as const].filter((dtype) => isWholeBlocks(dtype, cols));
  return fitting;
}

function wantedDType(name: string, quantisation: Quantisation): WeightDType {
  switch (quantisation) {
    case "F32":
      return "f32";
    case "F16":
      return "f16";
    case "Q8_0":
      return "q8_0";
    case "Q6_K":
      return "q6_k";
    case "Q4_0":
      return HEAD.test(name) ? "q6_k" : "q4_0";
    case "Q4_K_M":
      return HEAD.test(name) || FINER.test(name) ? "q6_k" : "q4_k";
    case "Q5_K_M":
      return HEAD.test(name) || FINER.test(name) ? "q6_k" : "q5_k";
  }
}
