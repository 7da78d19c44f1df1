/**
 * A sequence's state as bytes that know whose they are.
 *
 * | bytes | what |
 * |---|---|
 * | 8 | "TARNSTAT" |
 * | 4 | format version, u32 |
 * | 4 | length of the header, u32; a multiple of 4 |
 * | … | header: JSON, padded with spaces |
 * | … | slots in the layout's order (those that grow: as many rows as tokens), then the logits if there are any: f32 |
 * | 32 | SHA-256 of everything before |
 *
 * Numbers are little endian. Whatever the version, a file begins with the first 12 bytes and ends with the checksum.
 */
import { MAX_POSITION, sameLayout } from "../../kernels/spec/state-values.ts";
import type { StateLayout } from "../../kernels/spec/tensor.ts";
import { StateError } from "./errors.ts";
import { NUMERIC_VERSION, slotValues, stateBytes, type SequenceState } from "./layer-state.ts";

/** What a state is bound to: it is continued only where all of this matches. */
export interface StateOwner {
  /** SHA-256 (hex) of weights and configuration. */
  readonly modelHash: string;
  /** SHA-256 (hex) of the tokenizer. */
  readonly tokenizerHash: string;
  readonly layout: StateLayout;
  readonly vocabSize: number;
}

const MAGIC = new TextEncoder().encode("TARNSTAT");
const FORMAT_VERSION = 1;
const PREAMBLE_BYTES = 16;
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

/** The state as bytes; the caller owns them. */
export async function encodeSnapshot(
  state: SequenceState,
  owner: Pick<StateOwner, "modelHash" | "tokenizerHash">,
): Promise<Uint8Array<ArrayBuffer>> {
  const header: Header = {
    modelHash: owner.modelHash,
    tokenizerHash: owner.tokenizerHash,
    numericVersion: NUMERIC_VERSION,
    dtype: "f32",
    position: state.position,
    prefixHash: state.prefixHash,
    slots: state.layout,
    logits: state.logits?.length ?? 0,
  };
  const json = new TextEncoder().encode(JSON.stringify(header));
  const headerBytes = Math.ceil(json.length / 4) * 4;
  const arrays = state.logits === null ? state.slots : [...state.slots, state.logits];
  const dataBytes = arrays.reduce((sum, array) => sum + array.byteLength, 0);

  const bytes = new Uint8Array(PREAMBLE_BYTES + headerBytes + dataBytes + CHECKSUM_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setUint32(8, FORMAT_VERSION, true);
  view.setUint32(12, headerBytes, true);
  bytes.fill(SPACE, PREAMBLE_BYTES, PREAMBLE_BYTES + headerBytes);
  bytes.set(json, PREAMBLE_BYTES);
  let at = PREAMBLE_BYTES + headerBytes;
  for (const array of arrays) {
    // Every platform that Tarn runs on is little endian, so that an array's memory is its encoding.
    bytes.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), at);
    at += array.byteLength;
  }
  bytes.set(await sha256(bytes.subarray(0, at)), at);
  return bytes;
}

/**
 * The state that the bytes hold, in fresh arrays. Everything is checked before anything is allocated.
 * @throws StateError `foreign`, `corrupt`, `version`
 */
export async function decodeSnapshot(bytes: Uint8Array, owner: StateOwner): Promise<SequenceState> {
  const { header, dataStart } = await readHeader(bytes);
  const expectOwner = (what: string, expected: string | number, actual: string | number): void => {
    if (actual !== expected)
      throw new StateError("foreign", `it belongs to another ${what}`, { expected, actual });
  };
  if (header.numericVersion !== NUMERIC_VERSION) {
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

  const end = bytes.byteLength - CHECKSUM_BYTES;
  const expectedEnd = dataStart + stateBytes(owner.layout, header.position) + 4 * header.logits;
  if (end !== expectedEnd)
    throw new StateError("corrupt", "its length is wrong", {
      expected: expectedEnd + CHECKSUM_BYTES,
      actual: bytes.byteLength,
    });

  let at = dataStart;
  const take = (count: number): Float32Array => {
    const values = new Float32Array(bytes.slice(at, at + 4 * count).buffer);
    at += 4 * count;
    return values;
  };
  return {
    position: header.position,
    prefixHash: header.prefixHash,
    layout: owner.layout,
    slots: owner.layout.map((slot) => take(slotValues(slot, header.position))),
    logits: header.logits === 0 ? null : take(header.logits),
  };
}

const SPACE = 0x20;

async function readHeader(bytes: Uint8Array): Promise<{ header: Header; dataStart: number }> {
  if (
    bytes.byteLength < PREAMBLE_BYTES + CHECKSUM_BYTES ||
    MAGIC.some((byte, i) => bytes[i] !== byte)
  ) {
    throw new StateError("foreign", "it is not a state file");
  }
  const end = bytes.byteLength - CHECKSUM_BYTES;
  const checksum = await sha256(bytes.subarray(0, end));
  if (checksum.some((byte, i) => bytes[end + i] !== byte))
    throw new StateError("corrupt", "its checksum does not match its bytes");

  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint32(8, true);
  if (version !== FORMAT_VERSION)
    throw new StateError("version", "its format has another version", {
      expected: FORMAT_VERSION,
      actual: version,
    });
  const headerBytes = view.getUint32(12, true);
  const dataStart = PREAMBLE_BYTES + headerBytes;
  if (headerBytes > MAX_HEADER_BYTES || headerBytes % 4 !== 0 || dataStart > end) {
    throw new StateError("corrupt", "its header does not fit", { actual: headerBytes });
  }
  return { header: parseHeader(bytes.subarray(PREAMBLE_BYTES, dataStart)), dataStart };
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
