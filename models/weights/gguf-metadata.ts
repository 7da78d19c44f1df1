/** Metadata of a GGUF file: typed keys and values, with every length checked against the file before it is believed. */
import { WeightsError } from "./errors.ts";
import type { RandomAccessFile } from "./source.ts";
import { readExactly } from "./stored-tensors.ts";

/** Integers are numbers where exact, else bigint. */
export type GgufValue = number | bigint | boolean | string | readonly GgufValue[];
export type GgufMetadata = ReadonlyMap<string, GgufValue>;

/** More than any vocabulary needs, and little enough for memory. */
const MAX_METADATA_BYTES = 256 * 1024 * 1024;
const MAX_ARRAY_LENGTH = 8 * 1024 * 1024;
const MAX_ARRAY_DEPTH = 4;
const MAX_KEY_BYTES = 65_535;
const PIECE_BYTES = 1024 * 1024;

/** Value types by number, with the fewest bytes that one takes. Source: ggml's docs/gguf.md. */
const MIN_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8] as const;
const STRING = 8;
const ARRAY = 9;

/** Reads little-endian values from a file front to back, a piece at a time. */
export class GgufCursor {
  readonly file: RandomAccessFile;
  /** Position in the file, in bytes. */
  at = 0;
  #piece: DataView = new DataView(new ArrayBuffer(0));
  #pieceStart = 0;
  readonly #limit: number;

  constructor(file: RandomAccessFile) {
    this.file = file;
    this.#limit = Math.min(file.bytes, MAX_METADATA_BYTES);
  }

  malformed(reason: string, actual?: string | number): WeightsError {
    return new WeightsError("malformed", {
      file: this.file.name,
      reason: `${reason} (at byte ${this.at})`,
      ...(actual === undefined ? {} : { actual }),
    });
  }

  /** Bytes that may still be read before the file, or the limit on metadata, ends. */
  get left(): number {
    return this.#limit - this.at;
  }

  /** Makes `length` bytes available and returns where they begin in `view`. */
  async take(length: number): Promise<{ view: DataView; offset: number }> {
    if (length > this.left)
      throw this.malformed(`${length} bytes are announced, but only ${this.left} are left`);
    if (
      this.at < this.#pieceStart ||
      this.at + length > this.#pieceStart + this.#piece.byteLength
    ) {
      const bytes = await readExactly(
        this.file,
        this.at,
        Math.min(Math.max(length, PIECE_BYTES), this.left),
      );
      this.#piece = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      this.#pieceStart = this.at;
    }
    const offset = this.at - this.#pieceStart;
    this.at += length;
    return { view: this.#piece, offset };
  }

  async u32(): Promise<number> {
    const { view, offset } = await this.take(4);
    return view.getUint32(offset, true);
  }

  /** A 64-bit count or offset. */
  async size(what: string): Promise<number> {
    const { view, offset } = await this.take(8);
    const value = view.getBigUint64(offset, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw this.malformed(`${what} is too large`, String(value));
    return Number(value);
  }

  async string(what: string, maxBytes: number): Promise<string> {
    const length = await this.size(`the length of ${what}`);
    if (length > maxBytes || length > this.left)
      throw this.malformed(
        `${what} is longer than the file or the limit of ${maxBytes} bytes`,
        length,
      );
    const { view, offset } = await this.take(length);
    try {
      return utf8.decode(new Uint8Array(view.buffer, view.byteOffset + offset, length));
    } catch {
      throw this.malformed(`${what} is not UTF-8`);
    }
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @throws WeightsError `malformed` */
export async function readMetadata(cursor: GgufCursor, count: number): Promise<GgufMetadata> {
  // A key, its type and a value of one byte: 8 + 1 + 4 + 1.
  if (count * 14 > cursor.left)
    throw cursor.malformed("there are more keys announced than the file has room for", count);
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < count; i++) {
    const key = await cursor.string("a metadata key", MAX_KEY_BYTES);
    if (metadata.has(key)) throw cursor.malformed(`the metadata key "${key}" is there twice`);
    metadata.set(key, await readValue(cursor, await cursor.u32(), key, 0));
  }
  return metadata;
}

async function readValue(
  cursor: GgufCursor,
  type: number,
  key: string,
  depth: number,
): Promise<GgufValue> {
  if (type === STRING) return cursor.string(`the value of "${key}"`, MAX_METADATA_BYTES);
  if (type === ARRAY) return readArray(cursor, key, depth + 1);
  const bytes = MIN_BYTES[type];
  if (bytes === undefined) throw cursor.malformed(`"${key}" has an unknown value type`, type);
  const { view, offset } = await cursor.take(bytes);
  return scalar(view, offset, type);
}

async function readArray(
  cursor: GgufCursor,
  key: string,
  depth: number,
): Promise<readonly GgufValue[]> {
  if (depth > MAX_ARRAY_DEPTH)
    throw cursor.malformed(`"${key}" nests arrays deeper than ${MAX_ARRAY_DEPTH}`);
  const type = await cursor.u32();
  const length = await cursor.size(`the length of "${key}"`);
  const bytes = MIN_BYTES[type];
  if (bytes === undefined)
    throw cursor.malformed(`"${key}" is an array of an unknown value type`, type);
  if (length > MAX_ARRAY_LENGTH || length * bytes > cursor.left) {
    throw cursor.malformed(
      `"${key}" announces more elements than the file has room for, or than the limit of ${MAX_ARRAY_LENGTH}`,
      length,
    );
  }
  const values: GgufValue[] = [];
  if (type === STRING || type === ARRAY) {
    for (let i = 0; i < length; i++) values.push(await readValue(cursor, type, key, depth));
    return values;
  }
  const { view, offset } = await cursor.take(length * bytes);
  for (let i = 0; i < length; i++) values.push(scalar(view, offset + i * bytes, type));
  return values;
}

function scalar(view: DataView, offset: number, type: number): GgufValue {
  switch (type) {
    case 0:
      return view.getUint8(offset);
    case 1:
      return view.getInt8(offset);
    case 2:
      return view.getUint16(offset, true);
    case 3:
      return view.getInt16(offset, true);
    case 4:
      return view.getUint32(offset, true);
    case 5:
      return view.getInt32(offset, true);
    case 6:
      return view.getFloat32(offset, true);
    case 7:
      return view.getUint8(offset) !== 0;
    case 10:
      return exact(view.getBigUint64(offset, true));
    case 11:
      return exact(view.getBigInt64(offset, true));
    default:
      return view.getFloat64(offset, true);
  }
}

function exact(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
