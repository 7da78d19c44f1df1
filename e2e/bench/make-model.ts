/**
 * Random weights in the shape of a published model, as `tarn convert` would write it. The time of a step depends on shapes
 * and number formats, not on values; those here keep activations near 1 through all layers, so that outputs can be compared.
 */
import { open, rename, stat } from "node:fs/promises";
import path from "node:path";
import { WEIGHT_BLOCKS, type WeightDType } from "../../kernels/spec/dtype.ts";
import { seeded } from "../../kernels/testing/seeded.ts";
import { openConversion, type Quantisation } from "../../models/convert/convert.ts";
import { ggufBytes, type GgufEntries, type GgufTensor } from "../../models/convert/gguf-writer.ts";
import { quantise } from "../../models/weights/blocks/quantise.ts";
import { decodeF32, encodeF32 } from "../../models/weights/convert.ts";
import type { ModelShape } from "./shapes.ts";
import { shapeFiles } from "./shape-files.ts";

/** Number formats by the names that options call them by. `q4_k` means its mix with q6_k, as llama.cpp's Q4_K_M. */
export const FORMATS = {
  f16: "F16",
  q8_0: "Q8_0",
  q4_0: "Q4_0",
  q4_k: "Q4_K_M",
} as const satisfies Readonly<Record<string, Quantisation>>;
export type Format = keyof typeof FORMATS;

/** Weights of one bank: whole blocks of every format, and more than a cache next to the processor holds. */
const BANK_WEIGHTS = 1 << 18;
/** Weights that are written at once: whole blocks of every format. */
const PIECE_WEIGHTS = 1 << 22;
const SEED = 20_261;

/**
 * The bytes of the GGUF file from front to back, the same on every machine.
 * @param decoded the values that the quantised matrices stand for, as f32
 */
export async function* modelBytes(
  name: string,
  shape: ModelShape,
  format: Format,
  decoded = false,
): AsyncGenerator<Uint8Array> {
  const conversion = await openConversion(shapeFiles(shape), name, FORMATS[format]);
  try {
    const banks = new Banks(Number(shape.config["num_hidden_layers"]), decoded);
    const filled = conversion.tensors.map((tensor) => banks.fill(tensor));
    const vocabSize = conversion.tensors.find((tensor) => tensor.name === "token_embd.weight");
    const entries = [...conversion.entries, ...vocabulary(vocabSize?.shape[0] ?? 0)];
    yield* ggufBytes(entries, filled);
  } finally {
    await conversion.close();
  }
}

/**
 * Writes the file into `folder` unless it is there.
 * @returns its path
 */
export async function makeModel(
  folder: string,
  name: string,
  shape: ModelShape,
  format: Format,
  decoded = false,
): Promise<string> {
  const file = path.join(folder, `${name}-${format}${decoded ? "-as-f32" : ""}.gguf`);
  if ((await stat(file).catch(() => null)) !== null) return file;
  // Under another name until it is whole: what was broken off is not taken for a model.
  const unfinished = `${file}.${process.pid}`;
  const handle = await open(unfinished, "w");
  try {
    for await (const piece of modelBytes(name, shape, format, decoded))
      await handle.writeFile(piece);
  } finally {
    await handle.close();
  }
  await rename(unfinished, file);
  return file;
}

/** Weights that matrices are made of. */
interface Bank {
  readonly bytes: Uint8Array;
  readonly blocks: number;
}

/**
 * A Gaussian for each of some billion weights would take minutes. So there is one bank of weights for each format and scale,
 * and a matrix is made of pieces of it that start at random blocks.
 */
class Banks {
  readonly #banks = new Map<string, Bank>();
  readonly #nLayer: number;
  readonly #decoded: boolean;

  constructor(nLayer: number, decoded: boolean) {
    this.#nLayer = nLayer;
    this.#decoded = decoded;
  }

  /** The tensor with values from a bank, if it is a matrix; the small ones, all f32, keep their own. */
  fill(tensor: GgufTensor): GgufTensor {
    const { name, dtype, shape } = tensor;
    if (dtype === "f32") return tensor;
    const cols = shape.at(-1) ?? 1;
    const block = WEIGHT_BLOCKS[dtype];
    const count = shape.reduce((product, side) => product * side, 1);
    return {
      ...tensor,
      dtype: this.#decoded ? "f32" : dtype,
      pieces: () =>
        piecesOf(this.#bank(dtype, this.#scale(name, cols)), count / block.values, name),
    };
  }

  /** The standard deviation that keeps a product with `cols` values of size 1 near 1, or a sum of all layers'. */
  #scale(name: string, cols: number): number {
    if (name === "token_embd.weight") return 0.05;
    if (name.includes("ssm_dt")) return 0.3 / Math.sqrt(cols);
    const addsToResidual = /(ssm_out|attn_output|ffn_down)\.weight$/.test(name);
    return 1 / Math.sqrt(addsToResidual ? 2 * cols * this.#nLayer : cols);
  }

  #bank(dtype: WeightDType, scale: number): Bank {
    const key = `${dtype} ${scale}`;
    const known = this.#banks.get(key);
    if (known !== undefined) return known;
    const packed = encode(dtype, seeded(SEED).normal(BANK_WEIGHTS, scale));
    const bank = this.#decoded
      ? new Uint8Array(decodeF32(dtype, packed, BANK_WEIGHTS).buffer)
      : packed;
    const blocks = BANK_WEIGHTS / WEIGHT_BLOCKS[dtype].values;
    const filling = { bytes: bank, blocks };
    this.#banks.set(key, filling);
    return filling;
  }
}

/** The same blocks in the same order, whether the bank holds them packed or as f32. */
async function* piecesOf(bank: Bank, blocks: number, name: string): AsyncGenerator<Uint8Array> {
  const random = seeded(SEED + hashOf(name));
  const blockBytes = bank.bytes.length / bank.blocks;
  for (let left = blocks; left > 0;) {
    const pieceBlocks = Math.min(PIECE_WEIGHTS * (bank.blocks / BANK_WEIGHTS), left);
    const piece = new Uint8Array(pieceBlocks * blockBytes);
    for (let at = 0; at < pieceBlocks;) {
      const start = Math.floor((random.next() * bank.blocks) / 2);
      const taken = Math.min(bank.blocks - start, pieceBlocks - at);
      const part = bank.bytes.subarray(start * blockBytes, (start + taken) * blockBytes);
      piece.set(part, at * blockBytes);
      at += taken;
    }
    left -= pieceBlocks;
    yield piece;
  }
}

function hashOf(name: string): number {
  let hash = 7;
  for (let i = 0; i < name.length; i++) hash = (Math.imul(hash, 31) + name.charCodeAt(i)) | 0;
  return hash;
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

/** Ids of the first of the tokens that are one letter, a to z. */
export const FIRST_LETTER = 1;
export const LETTERS = 26;

/** Tokens that are ASCII only: whatever such a model chooses is text. Behind the end token stand the letters, one each. */
export function tokenText(id: number): string {
  if (id === 0) return "<|endoftext|>";
  return id <= LETTERS ? String.fromCharCode(96 + id) : `<${id}>`;
}

function vocabulary(count: number): GgufEntries {
  const tokens = Array.from({ length: count }, (_, id) => tokenText(id));
  return [
    ["tokenizer.ggml.model", { type: "string", value: "gpt2" }],
    ["tokenizer.ggml.pre", { type: "string", value: "gpt-2" }],
    ["tokenizer.ggml.tokens", { type: "string[]", value: tokens }],
    [
      "tokenizer.ggml.token_type",
      { type: "i32[]", value: tokens.map((_, id) => (id === 0 ? 3 : 1)) },
    ],
    // llama.cpp wants at least one; these letters do not follow each other in any prompt here.
    ["tokenizer.ggml.merges", { type: "string[]", value: ["< >"] }],
    ["tokenizer.ggml.bos_token_id", { type: "u32", value: 0 }],
    ["tokenizer.ggml.eos_token_id", { type: "u32", value: 0 }],
  ];
}
