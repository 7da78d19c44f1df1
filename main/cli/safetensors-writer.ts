import { open, rename, rm } from "node:fs/promises";

export interface TensorDeclaration {
  readonly name: string;
  readonly dtype: "F32" | "I32";
  readonly shape: readonly number[];
}

export interface SafetensorsWriter {
  /** The next tensor's values, in the declared order; may come in pieces. */
  append(values: Float32Array | Int32Array): Promise<void>;
  /** Puts the file in its place. @throws RangeError if values are missing */
  finish(): Promise<void>;
  /** Removes what was written; the place keeps what it had. */
  discard(): Promise<void>;
}

/**
 * Writes a safetensors file piece by piece beside its place and moves it there when it is complete, so that a
 * failure leaves no half file.
 */
export async function createSafetensorsWriter(
  file: string,
  tensors: readonly TensorDeclaration[],
): Promise<SafetensorsWriter> {
  let end = 0;
  const header: Record<string, unknown> = {};
  for (const { name, dtype, shape } of tensors) {
    const begin = end;
    end += 4 * shape.reduce((product, side) => product * side, 1);
    header[name] = { dtype, shape, data_offsets: [begin, end] };
  }
  const text = JSON.stringify(header);
  const json = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8, " "), "utf8");
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(json.byteLength));

  const partial = `${file}.${process.pid}.part`;
  const handle = await open(partial, "w");
  let written = 0;
  await handle.appendFile(Buffer.concat([prefix, json]));
  return {
    async append(values) {
      const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
      await handle.appendFile(bytes);
      written += bytes.byteLength;
    },
    async finish() {
      await handle.close();
      if (written !== end)
        throw new RangeError(`${written} bytes of tensors were written, ${end} were declared`);
      await rename(partial, file);
    },
    async discard() {
      await handle.close().catch(() => undefined); // Closed already when finish() failed.
      await rm(partial, { force: true });
    },
  };
}
