/** GGUF files for the judge, as `tarn convert` writes them. */
import { writeFile } from "node:fs/promises";
import { openConversion, type Quantisation } from "../../models/convert/convert.ts";
import { ggufBytes, type GgufEntries, type GgufTensor } from "../../models/convert/gguf-writer.ts";
import { memoryFile } from "../../models/weights/memory-file.ts";
import { decodeF32 } from "../../models/weights/convert.ts";
import type { RandomAccessFile } from "../../models/weights/source.ts";

/**
 * Writes the model as `path`, and returns the same bytes for Tarn.
 * @param decoded with the values that the quantised matrices stand for, as f32: what llama.cpp then gives is not rounded on the way
 * @throws ConversionError where llama.cpp has no such model
 */
export async function writeGguf(
  path: string,
  model: readonly RandomAccessFile[],
  quantisation: Quantisation,
  {
    decoded = false,
    tokenizer,
  }: { readonly decoded?: boolean; readonly tokenizer?: GgufEntries } = {},
): Promise<RandomAccessFile> {
  const conversion = await openConversion(model, "judged", quantisation);
  try {
    const rows = conversion.tensors.find(({ name }) => name === "token_embd.weight")?.shape[0] ?? 0;
    const entries = [...conversion.entries, ...(tokenizer ?? standInTokenizer(rows))];
    const tensors = decoded ? conversion.tensors.map(asF32) : conversion.tensors;
    const pieces: Uint8Array[] = [];
    for await (const piece of ggufBytes(entries, tensors)) pieces.push(piece.slice());
    const bytes = Buffer.concat(pieces);
    await writeFile(path, bytes);
    return memoryFile("model.gguf", bytes);
  } finally {
    await conversion.close();
  }
}

function asF32(tensor: GgufTensor): GgufTensor {
  const { dtype, shape } = tensor;
  const count = shape.reduce((product, side) => product * side, 1);
  return {
    ...tensor,
    dtype: "f32",
    async *pieces() {
      const pieces: Uint8Array[] = [];
      for await (const piece of tensor.pieces()) pieces.push(piece.slice());
      yield new Uint8Array(decodeF32(dtype, Buffer.concat(pieces), count).buffer);
    },
  };
}

/** node-llama-cpp tokenizes a word when it loads a model, so that there must be tokens; nothing else looks at these. */
function standInTokenizer(count: number): GgufEntries {
  const ids = Array.from({ length: count }, (_, id) => id);
  return [
    ["tokenizer.ggml.model", { type: "string", value: "gpt2" }],
    ["tokenizer.ggml.pre", { type: "string", value: "gpt-2" }],
    ["tokenizer.ggml.tokens", { type: "string[]", value: ids.map((id) => `t${id}`) }],
    ["tokenizer.ggml.token_type", { type: "i32[]", value: ids.map(() => 1) }],
    ["tokenizer.ggml.merges", { type: "string[]", value: ["t 0"] }],
  ];
}
