import { openConversion } from "../convert/convert.ts";
import type { RandomAccessFile } from "../weights/source.ts";

/** What a GGUF file says before its values. */
export interface GgufHeader {
  readonly metadata: Readonly<Record<string, unknown>>;
  /** SHA-256 of the names, shapes and types of the tensors, whatever their order. */
  readonly tensors: string;
}

/**
 * The header of a model's GGUF file of f32, without a tokenizer.
 * @throws ConversionError where llama.cpp has no such model
 */
export async function ggufHeader(model: readonly RandomAccessFile[]): Promise<GgufHeader> {
  const { entries, tensors, close } = await openConversion(model, "judged", "F32");
  await close();
  const listed = tensors.map(({ name, shape, dtype }) => `${name} ${shape.join("×")} ${dtype}`);
  const text = new TextEncoder().encode(listed.toSorted().join("\n"));
  const hash = Buffer.from(await crypto.subtle.digest("SHA-256", text)).toString("hex");
  const sorted = entries.toSorted(([a], [b]) => (a < b ? -1 : 1));
  return {
    metadata: Object.fromEntries(sorted.map(([key, { type, value }]) => [key, { [type]: value }])),
    tensors: hash,
  };
}
