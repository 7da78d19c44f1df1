/**
 * A sequence's state as bytes that know whose they are: a head, and behind it pages of what grew.
 *
 * | bytes | what |
 * |---|---|
 * | 8 | "TARNSTAT" |
 * | 4 | format version, u32 |
 * | 4 | length of the header, u32; a multiple of 4 |
 * | 8 | length of the head, u64: everything before the pages |
 * | … | header: JSON, padded with spaces |
 * | 32 · pages | SHA-256 of each page |
 * | … | slots in the layout's order, then the logits if there are any: f32. Of slots that grow the rows behind the last page |
 * | 32 | SHA-256 of the head before |
 * | … | pages: of each slot that grows, in the layout's order, the rows of PAGE_TOKENS tokens |
 *
 * Numbers are little endian. Rows of slots that are kept in f16 are f16 here too. A page never changes once it is full, so
 * that whoever stores many states of one conversation stores each page once, by its hash, and a head for each.
 *
 * Version 1 had no length of the head and no pages: all rows lay in the head, as f32. It is read for ever.
 */
import { MAX_POSITION, sameLayout } from "../../kernels/spec/state-values.ts";
import { slotSize, type StateLayout, type StateSlot } from "../../kernels/spec/tensor.ts";
import { StateError } from "./errors.ts";
import {
  CONTINUED_VERSIONS,
  NUMERIC_VERSION,
  slotValues,
  type SequenceState,
} from "./layer-state.ts";

/** What a state is bound to: it is continued only where all of this matches. */
export interface StateOwner {
  /** SHA-256 (hex) of weights and configuration. */
  readonly modelHash: string;
  /** SHA-256 (hex) of the tokenizer. */
  readonly tokenizerHash: string;
  readonly layout: StateLayout;
  readonly vocabSize: number;
}

/** Tokens of a page. */
export const PAGE_TOKENS = 64;
/** Bytes of a page's hash. */
export const HASH_BYTES = 32;

const MAGIC = new TextEncoder().encode("TARNSTAT");
const FORMAT_VERSION = 2;
/** Of versions 1 and 2. */
const PREAMBLE_BYTES = [16, 24] as const;
const CHECKSUM_BYTES = 32;
/** Room for the layouts of a thousand layers. */
const MAX_HEADER_BYTES = 1024 * 1024;

interface Header {
  readonly modelHash: string;
  readonly tokenizerHash: string;
  readonly numericVersion: number;
  readonly dtype: "f32";
  readonly position: number;
  readonly prefixHash: string;
  readonly slots: StateLayout;
  /** Values; 0 for none. */
  readonly logits: number;
}

/** A state whose pages before some token were taken earlier. */
export interface PartialState extends Omit<SequenceState, "slots"> {
  /** One array a slot of the layout; of a slot that grows the rows behind `pageHashes`, (position - from, slotSize). */
  readonly slots: readonly Float32Array[];
  /** Of the full pages before those rows, HASH_BYTES each. */
  readonly pageHashes: Uint8Array;
}

/** The parts of a snapshot: `head`, then pages, each of `pageBytes`. */
export interface EncodedSnapshot {
  /** The head, and the pages that are not in the given hashes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly headBytes: number;
  /** 0 where nothing grows. */
  readonly pageBytes: number;
  /** Of all pages, the earlier ones first. */
  readonly pageHashes: Uint8Array<ArrayBuffer>;
}

/** The whole state as bytes, portable as they are; the caller owns them. */
export async function encodeSnapshot(
  state: SequenceState,
  owner: Pick<StateOwner, "modelHash" | "tokenizerHash">,
): Promise<Uint8Array<ArrayBuffer>> {
  return (await encodeParts({ ...state, pageHashes: new Uint8Array() }, owner)).bytes;
}

/** The state as a head and those pages that are new. */
export async function encodeParts(
  state: PartialState,
  owner: Pick<StateOwner, "modelHash" | "tokenizerHash">,
): Promise<EncodedSnapshot> {
  const { layout, position } = state;
  const arrays = zip(layout, state.slots);
  const pageBytes = bytesOfPage(layout);
  const earlier = state.pageHashes.length / HASH_BYTES;
  const pages = pagesOf(layout, position);
  const header: Header = {
    modelHash: owner.modelHash,
    tokenizerHash: owner.tokenizerHash,
    numericVersion: NUMERIC_VERSION,
    dtype: "f32",
    position,
    prefixHash: state.prefixHash,
    slots: layout,
    logits: state.logits?.length ?? 0,
  };
  const json = new TextEncoder().encode(JSON.stringify(header));
  const headerBytes = Math.ceil(json.length / 4) * 4;
  const start = PREAMBLE_BYTES[1] + headerBytes;
  const headBytes = start + pages * HASH_BYTES + dataBytes(header, FORMAT_VERSION) + CHECKSUM_BYTES;

  const bytes = new Uint8Array(headBytes + (pages - earlier) * pageBytes);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setUint32(8, FORMAT_VERSION, true);
  view.setUint32(12, headerBytes, true);
  view.setBigUint64(16, BigInt(headBytes), true);
  bytes.fill(SPACE, PREAMBLE_BYTES[1], start);
  bytes.set(json, PREAMBLE_BYTES[1]);

  let at = headBytes;
  const pageHashes = new Uint8Array(pages * HASH_BYTES);
  pageHashes.set(state.pageHashes);
  for (let page = earlier; page < pages; page++) {
    const first = (page - earlier) * PAGE_TOKENS;
    for (const { slot, values } of arrays)
      if (slot.grows === true)
        at += put(bytes, at, rows(slot, values, first, first + PAGE_TOKENS), slot);
    pageHashes.set(await sha256(bytes.subarray(at - pageBytes, at)), page * HASH_BYTES);
  }

  bytes.set(pageHashes, start);
  at = start + pageHashes.length;
  const behind = (pages - earlier) * PAGE_TOKENS;
  for (const { slot, values } of arrays)
    at += put(bytes, at, slot.grows === true ? rows(slot, values, behind) : values, slot);
  if (state.logits !== null) at += put(bytes, at, state.logits);
  bytes.set(await sha256(bytes.subarray(0, at)), at);
  return { bytes, headBytes, pageBytes, pageHashes };
}

/**
 * The state that the bytes hold, in fresh arrays. Everything is checked before anything is allocated.
 * @throws StateError `foreign`, `corrupt`, `version`
 */
export async function decodeSnapshot(
  bytes: Uint8Array,
  owner: StateOwner,
): Promise<SequenceState & { readonly pageHashes: Uint8Array }> {
  const { header, version, dataStart, headBytes } = await readHead(bytes);
  const expectOwner = (what: string, expected: string | number, actual: string | number): void => {
    if (actual !== expected)
      throw new StateError("foreign", `it belongs to another ${what}`, { expected, actual });
  };
  if (!CONTINUED_VERSIONS.includes(header.numericVersion)) {
    throw new StateError("version", "it was computed by another version of the arithmetic", {
      expected: NUMERIC_VERSION,
      actual: header.numericVersion,
    });
  }
  expectOwner("model", owner.modelHash, header.modelHash);
  expectOwner("tokenizer", owner.tokenizerHash, header.tokenizerHash);
  if (!sameLayout(header.slots, owner.layout))
    throw new StateError("foreign", "its layers have other shapes than the model's");
  if (header.logits !== 0) expectOwner("vocabulary", owner.vocabSize, header.logits);

  const { layout } = owner;
  const { position } = header;
  const pages = version === 1 ? 0 : pagesOf(layout, position);
  const pageBytes = bytesOfPage(layout);
  const valuesStart = dataStart + pages * HASH_BYTES;
  const expectedHead = valuesStart + dataBytes(header, version) + CHECKSUM_BYTES;
  const expected = expectedHead + pages * pageBytes;
  if (headBytes !== expectedHead || bytes.byteLength !== expected)
    throw new StateError("corrupt", "its length is wrong", { expected, actual: bytes.byteLength });
  const pageHashes = new Uint8Array(bytes.subarray(dataStart, valuesStart));
  for (let page = 0; page < pages; page++) {
    const start = headBytes + page * pageBytes;
    const hash = await sha256(bytes.subarray(start, start + pageBytes));
    if (hash.some((byte, i) => pageHashes[page * HASH_BYTES + i] !== byte))
      throw new StateError("corrupt", `the checksum of its page ${page} does not match its bytes`);
  }

  const slots = layout.map((slot) => new Float32Array(slotValues(slot, position)));
  const arrays = zip(layout, slots);
  let at = headBytes;
  for (let page = 0; page < pages; page++) {
    const first = page * PAGE_TOKENS;
    for (const { slot, values } of arrays)
      if (slot.grows === true)
        at += take(bytes, at, rows(slot, values, first, first + PAGE_TOKENS), slot);
  }
  at = valuesStart;
  for (const { slot, values } of arrays) {
    const behind = slot.grows === true ? rows(slot, values, pages * PAGE_TOKENS) : values;
    at += take(bytes, at, behind, version === 1 ? undefined : slot);
  }
  const logits = header.logits === 0 ? null : new Float32Array(header.logits);
  if (logits !== null) take(bytes, at, logits);
  // Of version 1 no page was ever taken.
  return { position, prefixHash: header.prefixHash, layout, slots, logits, pageHashes };
}

/** Full pages of a state behind `position` tokens; 0 where nothing grows. */
export function pagesOf(layout: StateLayout, position: number): number {
  return layout.some((slot) => slot.grows === true) ? Math.floor(position / PAGE_TOKENS) : 0;
}

function bytesOfPage(layout: StateLayout): number {
  return layout.reduce(
    (sum, slot) => sum + (slot.grows === true ? PAGE_TOKENS * slotSize(slot) * width(slot) : 0),
    0,
  );
}

function zip(
  layout: StateLayout,
  slots: readonly Float32Array[],
): { readonly slot: StateSlot; readonly values: Float32Array }[] {
  return layout.map((slot, index) => {
    const values = slots[index];
    if (values === undefined) throw new RangeError(`no values for the slot "${slot.name}"`);
    return { slot, values };
  });
}

/** Bytes of the head's slots and logits. */
function dataBytes({ slots, position, logits }: Header, version: number): number {
  const inPages = version === 1 ? 0 : pagesOf(slots, position) * PAGE_TOKENS;
  return slots.reduce(
    (sum, slot) => sum + slotValues(slot, position - inPages) * (version === 1 ? 4 : width(slot)),
    4 * logits,
  );
}

/** Bytes of a value of a slot. */
function width(slot: StateSlot): number {
  return slot.grows === true && slot.dtype === "f16" ? 2 : 4;
}

/** Rows `from` … `to - 1` of (tokens, slotSize) values. */
function rows(slot: StateSlot, values: Float32Array, from: number, to?: number): Float32Array {
  const size = slotSize(slot);
  return values.subarray(from * size, to === undefined ? undefined : to * size);
}

/** Encodes values at `at`: f16 where the slot is kept so, which loses nothing. @returns bytes written */
function put(bytes: Uint8Array, at: number, values: Float32Array, slot?: StateSlot): number {
  // Every platform that Tarn runs on is little endian, so that an array's memory is its encoding.
  const encoded = slot !== undefined && width(slot) === 2 ? new Float16Array(values) : values;
  bytes.set(new Uint8Array(encoded.buffer, encoded.byteOffset, encoded.byteLength), at);
  return encoded.byteLength;
}

/** The way back, into `values`. @returns bytes read */
function take(bytes: Uint8Array, at: number, values: Float32Array, slot?: StateSlot): number {
  const half = slot !== undefined && width(slot) === 2;
  const length = values.length * (half ? 2 : 4);
  // Copied: the bytes may begin anywhere, arrays of numbers may not.
  const { buffer } = new Uint8Array(bytes.subarray(at, at + length));
  values.set(half ? new Float16Array(buffer) : new Float32Array(buffer));
  return length;
}

const SPACE = 0x20;

interface Head {
  readonly version: number;
  readonly header: Header;
  /** Where the header ends. */
  readonly dataStart: number;
  readonly headBytes: number;
}

async function readHead(bytes: Uint8Array): Promise<Head> {
  if (
    bytes.byteLength < PREAMBLE_BYTES[0] + CHECKSUM_BYTES ||
    MAGIC.some((byte, i) => bytes[i] !== byte)
  ) {
    throw new StateError("foreign", "it is not a state file");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint32(8, true);
  const preamble = version === 1 ? PREAMBLE_BYTES[0] : PREAMBLE_BYTES[1];
  const headBytes = version === 1 ? bytes.byteLength : Number(view.getBigUint64(16, true));
  const end = headBytes - CHECKSUM_BYTES;
  if (headBytes > bytes.byteLength || end < preamble)
    throw new StateError("corrupt", "it is cut off, or its lengths are wrong", {
      expected: headBytes,
      actual: bytes.byteLength,
    });
  const checksum = await sha256(bytes.subarray(0, end));
  if (checksum.some((byte, i) => bytes[end + i] !== byte))
    throw new StateError("corrupt", "its checksum does not match its bytes");
  if (version !== 1 && version !== FORMAT_VERSION)
    throw new StateError("version", "its format has another version", {
      expected: FORMAT_VERSION,
      actual: version,
    });
  const headerBytes = view.getUint32(12, true);
  const dataStart = preamble + headerBytes;
  if (headerBytes > MAX_HEADER_BYTES || headerBytes % 4 !== 0 || dataStart > end) {
    throw new StateError("corrupt", "its header does not fit", { actual: headerBytes });
  }
  return {
    version,
    header: parseHeader(bytes.subarray(preamble, dataStart)),
    dataStart,
    headBytes,
  };
}

/** A checksum is no signature: whoever made the file may have written any header. */
function parseHeader(bytes: Uint8Array): Header {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new StateError("corrupt", "its header is not JSON");
  }
  if (!isHeader(header))
    throw new StateError("corrupt", "its header has missing or malformed fields");
  return header;
}

function isHeader(value: unknown): value is Header {
  return (
    isObject(value) &&
    isHash(value["modelHash"]) &&
    isHash(value["tokenizerHash"]) &&
    isHash(value["prefixHash"]) &&
    isCount(value["numericVersion"]) &&
    isCount(value["position"]) &&
    Number(value["position"]) < MAX_POSITION &&
    isCount(value["logits"]) &&
    value["dtype"] === "f32" &&
    Array.isArray(value["slots"]) &&
    value["slots"].every(isSlot)
  );
}

function isSlot(value: unknown): boolean {
  return (
    isObject(value) &&
    typeof value["name"] === "string" &&
    Array.isArray(value["shape"]) &&
    value["shape"].every(isCount) &&
    (value["grows"] === undefined || typeof value["grows"] === "boolean") &&
    (value["dtype"] === undefined || value["dtype"] === "f32" || value["dtype"] === "f16")
  );
}

function isHash(value: unknown): boolean {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  // WebCrypto takes no view of shared memory.
  const own =
    bytes.buffer instanceof ArrayBuffer
      ? (bytes as Uint8Array<ArrayBuffer>)
      : new Uint8Array(bytes);
  return new Uint8Array(await crypto.subtle.digest("SHA-256", own));
}
