/**
 * The ZIP containers of office and book formats, read from memory (PKWARE APPNOTE 6.3). Hostile until proven otherwise: every
 * offset is checked before it is followed, nothing is unpacked beyond a budget, and what was unpacked must have its CRC.
 */
import { crc32, inflateRawSync } from "node:zlib";
import { TarnError } from "../../../contract/errors.ts";

/** What one archive may cost. */
export interface ZipLimits {
  readonly entries: number;
  /** Bytes that all entries which are read may unpack to together. */
  readonly bytes: number;
  /** Unpacked to packed bytes of one entry; small entries may be any ratio. */
  readonly ratio: number;
}

export const ZIP_LIMITS: ZipLimits = { entries: 20_000, bytes: 384 * 2 ** 20, ratio: 400 };
/** Below this an entry's ratio says nothing. */
const SMALL = 8 * 2 ** 20;

/** An opened archive. Nothing is unpacked before it is asked for. */
export interface Zip {
  readonly names: readonly string[];
  /** @throws TarnError `document-broken`, `document-encrypted`, `document-too-large`; null when there is no such entry */
  read(path: string): Uint8Array | null;
}

interface Entry {
  readonly packed: number;
  readonly size: number;
  readonly crc: number;
  readonly method: number;
  readonly encrypted: boolean;
  readonly offset: number;
}

const END = 0x0605_4b50;
const END_64_LOCATOR = 0x0706_4b50;
const END_64 = 0x0606_4b50;
const CENTRAL = 0x0201_4b50;
const LOCAL = 0x0403_4b50;
const MAX_16 = 0xffff;
const MAX_32 = 0xffff_ffff;

/** True for bytes that begin as a ZIP archive does. */
export function looksZipped(bytes: Uint8Array): boolean {
  return bytes[0] === 0x50 && bytes[1] === 0x4b && bytes[2] === 3 && bytes[3] === 4;
}

/**
 * @param name of the file, for messages
 * @throws TarnError `document-broken`, `document-too-large`
 */
export function openZip(bytes: Uint8Array, name: string, limits: ZipLimits = ZIP_LIMITS): Zip {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries = readDirectory(view, bytes, name, limits);
  let left = limits.bytes;

  function read(path: string): Uint8Array | null {
    const entry = entries.get(path);
    if (entry === undefined) return null;
    if (entry.encrypted)
      throw new TarnError(
        "document-encrypted",
        `"${name}" is locked with a password. Nothing was added; save a copy without the password and attach that.`,
        { name },
      );
    const tooLarge =
      entry.size > left ||
      (entry.size > SMALL && entry.size > limits.ratio * Math.max(entry.packed, 1));
    if (tooLarge) throw bomb(name);
    left -= entry.size;
    return unpack(view, bytes, entry, name);
  }
  return { names: [...entries.keys()], read };
}

function unpack(view: DataView, bytes: Uint8Array, entry: Entry, name: string): Uint8Array {
  const { offset, packed, size, crc, method } = entry;
  if (offset + 30 > bytes.length || view.getUint32(offset, true) !== LOCAL)
    throw broken(name, "an entry is not where its directory says");
  const start = offset + 30 + view.getUint16(offset + 26, true) + view.getUint16(offset + 28, true);
  if (start + packed > bytes.length) throw broken(name, "it ends too early");
  const data = bytes.subarray(start, start + packed);
  let plain: Uint8Array;
  if (method === 0) plain = data;
  else if (method === 8) {
    try {
      plain = inflateRawSync(data, { maxOutputLength: Math.max(size, 1) });
    } catch (cause) {
      throw broken(name, "an entry cannot be unpacked", cause);
    }
  } else throw broken(name, `an entry is packed in a way that is not known (${method})`);
  if (plain.length !== size || crc32(plain) !== crc)
    throw broken(name, "an entry does not have its checksum");
  return plain;
}

function readDirectory(
  view: DataView,
  bytes: Uint8Array,
  name: string,
  limits: ZipLimits,
): Map<string, Entry> {
  const { count, offset, size } = findDirectory(view, name);
  if (count > limits.entries) throw bomb(name);
  if (offset + size > bytes.length) throw broken(name, "its directory lies outside the file");
  const entries = new Map<string, Entry>();
  let at = offset;
  for (let index = 0; index < count; index++) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== CENTRAL)
      throw broken(name, "its directory is damaged");
    const flags = view.getUint16(at + 8, true);
    const nameLength = view.getUint16(at + 28, true);
    const extraLength = view.getUint16(at + 30, true);
    const next = at + 46 + nameLength + extraLength + view.getUint16(at + 32, true);
    if (next > bytes.length) throw broken(name, "its directory is damaged");
    const path = Buffer.from(bytes.subarray(at + 46, at + 46 + nameLength)).toString("utf8");
    const [entrySize, packed, local] = wideFields(
      view,
      at + 46 + nameLength,
      extraLength,
      [view.getUint32(at + 24, true), view.getUint32(at + 20, true), view.getUint32(at + 42, true)],
      name,
    );
    entries.set(path, {
      packed,
      size: entrySize,
      crc: view.getUint32(at + 16, true),
      method: view.getUint16(at + 10, true),
      encrypted: (flags & 1) !== 0,
      offset: local,
    });
    at = next;
  }
  return entries;
}

/** Sizes and offset of an entry: those that do not fit 32 bits stand in the ZIP64 extra field, in this order (APPNOTE 4.5.3). */
function wideFields(
  view: DataView,
  extraAt: number,
  extraLength: number,
  fields: readonly [number, number, number],
  name: string,
): readonly [number, number, number] {
  if (!fields.includes(MAX_32)) return fields;
  const end = extraAt + extraLength;
  for (let at = extraAt; at + 4 <= end; at += 4 + view.getUint16(at + 2, true)) {
    if (view.getUint16(at, true) !== 1) continue;
    let from = at + 4;
    const wide = fields.map((field) => {
      if (field !== MAX_32) return field;
      if (from + 8 > end) throw broken(name, "its directory is damaged");
      from += 8;
      return safeNumber(view, from - 8, name);
    });
    return [wide[0] ?? 0, wide[1] ?? 0, wide[2] ?? 0];
  }
  throw broken(name, "its directory is damaged");
}

function findDirectory(
  view: DataView,
  name: string,
): { readonly count: number; readonly offset: number; readonly size: number } {
  const lowest = Math.max(0, view.byteLength - 22 - MAX_16);
  for (let at = view.byteLength - 22; at >= lowest; at--) {
    if (view.getUint32(at, true) !== END) continue;
    const found = {
      count: view.getUint16(at + 10, true),
      size: view.getUint32(at + 12, true),
      offset: view.getUint32(at + 16, true),
    };
    const isWide = found.count === MAX_16 || found.size === MAX_32 || found.offset === MAX_32;
    return isWide && at >= 20 ? wideDirectory(view, at - 20, name) : found;
  }
  throw broken(name, "it ends too early");
}

function wideDirectory(view: DataView, locatorAt: number, name: string) {
  if (view.getUint32(locatorAt, true) !== END_64_LOCATOR)
    throw broken(name, "its directory is damaged");
  const at = safeNumber(view, locatorAt + 8, name);
  if (at + 56 > view.byteLength || view.getUint32(at, true) !== END_64)
    throw broken(name, "its directory is damaged");
  return {
    count: safeNumber(view, at + 32, name),
    size: safeNumber(view, at + 40, name),
    offset: safeNumber(view, at + 48, name),
  };
}

function safeNumber(view: DataView, at: number, name: string): number {
  const value = view.getBigUint64(at, true);
  if (value > BigInt(view.byteLength) * 65_536n) throw broken(name, "its directory is damaged");
  return Number(value);
}

function broken(name: string, why: string, cause?: unknown): TarnError {
  return new TarnError(
    "document-broken",
    `"${name}" is damaged: ${why}. Nothing was added; open it in the program that made it, save it again, and attach that.`,
    { name },
    cause,
  );
}

function bomb(name: string): TarnError {
  return new TarnError(
    "document-too-large",
    `"${name}" unpacks to far more than a document may have. Nothing was added.`,
    { name },
  );
}
