import { openConversion } from "../convert/convert.ts";
import { ggufBytes } from "../convert/gguf-writer.ts";
import { memoryFile } from "../weights/memory-file.ts";
import type { RandomAccessFile } from "../weights/source.ts";

/**
 * A model of safetensors as a GGUF file of f32.
 * @throws ConversionError where llama.cpp has no such model
 */
export async function asGguf(
  files: readonly RandomAccessFile[],
  name: string,
): Promise<RandomAccessFile> {
  const { entries, tensors, close } = await openConversion(files, name, "F32");
  const pieces: Uint8Array[] = [];
  for await (const piece of ggufBytes(entries, tensors)) pieces.push(piece.slice());
  await close();
  return memoryFile(`${name}.gguf`, Buffer.concat(pieces));
}
