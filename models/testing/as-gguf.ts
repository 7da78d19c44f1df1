import { openConversion, type Quantisation } from "../convert/convert.ts";
import { ggufBytes } from "../convert/gguf-writer.ts";
import { memoryFile } from "../weights/memory-file.ts";
import type { RandomAccessFile } from "../weights/source.ts";

/**
 * A model of safetensors as a GGUF file, of f32 unless another type is named.
 * @throws ConversionError where llama.cpp has no such model
 */
export async function asGguf(
  files: readonly RandomAccessFile[],
  name: string,
  quantisation: Quantisation = "F32",
): Promise<RandomAccessFile> {
  const { entries, tensors, close } = await openConversion(files, name, quantisation);
  const pieces: Uint8Array[] = [];
  for await (const piece of ggufBytes(entries, tensors)) pieces.push(piece.slice());
  await close();
  return memoryFile(`${name}.gguf`, Buffer.concat(pieces));
}
