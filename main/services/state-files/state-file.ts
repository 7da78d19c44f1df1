/**
 * A state that travels: one file with what a model remembers, and the list of what it remembers.
 *
 * | bytes | what |
 * |---|---|
 * | 8 | "TARNFILE" |
 * | 4 | format version, u32 |
 * | 4 | length of the preface, u32 |
 * | … | preface: JSON, readable by anyone |
 * | … | contents: MessagePack, compressed with zstd, encrypted if there is a passphrase |
 * | 32 or 16 | the seal: SHA-256 of all before, or the tag of AES-256-GCM, which covers the preface too |
 *
 * With a passphrase the preface tells nothing but how the key is derived: by scrypt (RFC 7914).
 */
import { decode, encode } from "@msgpack/msgpack";
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  randomBytes,
  scrypt,
  timingSafeEqual,
} from "node:crypto";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { z } from "zod";
import { TarnError } from "../../contract/errors.ts";
import { checkPacked } from "../../contract/packed.ts";

const MAGIC = Buffer.from("TARNFILE");
const FORMAT_VERSION = 1;
const PREAMBLE_BYTES = 16;
const MAX_PREFACE_BYTES = 64 * 1024;
/** Larger than the state of any model that runs here. */
const MAX_CONTENTS_BYTES = 2 ** 31 - 1;
/** Pieces that were read: messages and documents. */
const MAX_READ = 100_000;
/** States hardly shrink; what was never written to is zeros. */
const MAX_RATIO = 100;
const MIN_CONTENTS_BYTES = 64 * 2 ** 20;
const KEY_BYTES = 32;
const TAG_BYTES = 16;
const HASH_BYTES = 32;

/** Costs of scrypt as OWASP recommends them: 128 MB and some tenths of a second. */
const SCRYPT = { N: 2 ** 17, r: 8, p: 1 } as const;

const hash = z.string().regex(/^[0-9a-f]{64}$/);

/** One piece of what the state was made from. */
const readSchema = z.object({
  role: z.enum(["system", "document", "user", "assistant"]),
  /** Of a document its file's name; of others what stands in the list of chats. */
  name: z.string().max(1000).nullable(),
  tokens: z.number().int().min(0),
  /** SHA-256 (hex) of its text in UTF-8; where it never had one, of its ids. */
  sha256: hash,
  /** The text itself; null where it was left out. */
  text: z.string().nullable(),
  /** Little-endian i32; null where the text was left out. */
  ids: z.instanceof(Uint8Array).nullable(),
});

const contentsSchema = z.object({
  title: z.string().max(1000),
  model: z.object({ name: z.string().max(1000), modelHash: hash, tokenizerHash: hash }),
  createdAt: z.number(),
  position: z.number().int().min(0),
  /** Whether it stands behind a complete answer, for where the ids are left out. */
  isClosed: z.boolean().optional(),
  read: z.array(readSchema).max(MAX_READ),
  /** The engine's own snapshot, with its checksum. */
  snapshot: z.instanceof(Uint8Array),
});

/** What a file holds. */
export type StateFile = z.infer<typeof contentsSchema>;

const prefaceSchema = z.object({
  contentsBytes: z.number().int().min(1).max(MAX_CONTENTS_BYTES),
  encryption: z
    .object({
      cipher: z.literal("aes-256-gcm"),
      kdf: z.literal("scrypt"),
      // A file from outside must not choose how much memory is spent on it: 128 N r bytes.
      N: z.literal([2 ** 15, 2 ** 16, 2 ** 17]),
      r: z.literal(8),
      p: z.literal([1, 2, 3]),
      salt: z.string().regex(/^[0-9a-f]{32}$/),
      nonce: z.string().regex(/^[0-9a-f]{24}$/),
    })
    .nullable(),
});
type Preface = z.infer<typeof prefaceSchema>;

/** Seals the contents; with a passphrase nobody reads them, or changes them, without it. */
export async function writeStateFile(
  contents: StateFile,
  passphrase: string | null,
): Promise<Uint8Array> {
  const plain = encode(contents);
  const zstd = zstdCompressSync(plain, { params: { [constants.ZSTD_c_compressionLevel]: 3 } });
  if (passphrase === null) {
    const head = preamble({ contentsBytes: plain.byteLength, encryption: null });
    return Buffer.concat([head, zstd, sha256(head, zstd)]);
  }
  const salt = randomBytes(16);
  const nonce = randomBytes(12);
  const head = preamble({
    contentsBytes: plain.byteLength,
    encryption: {
      cipher: "aes-256-gcm",
      kdf: "scrypt",
      ...SCRYPT,
      salt: salt.toString("hex"),
      nonce: nonce.toString("hex"),
    },
  });
  const cipher = createCipheriv("aes-256-gcm", await deriveKey(passphrase, salt, SCRYPT), nonce);
  cipher.setAAD(head);
  return Buffer.concat([head, cipher.update(zstd), cipher.final(), cipher.getAuthTag()]);
}

/** True for the beginning of a state file, whatever is behind it. */
export function isStateFile(bytes: Uint8Array): boolean {
  return bytes.byteLength >= PREAMBLE_BYTES && MAGIC.every((byte, i) => bytes[i] === byte);
}

/**
 * Opens a file: the seal is checked before anything behind the preface is looked at.
 * @throws TarnError `state-foreign` for another file, `state-corrupt` where a byte was changed, `unauthorized` for a
 * passphrase that does not open it
 */
export async function readStateFile(
  bytes: Uint8Array,
  passphrase: string | null,
): Promise<StateFile> {
  const { preface, bodyStart } = readPreamble(bytes);
  const zstd =
    preface.encryption === null
      ? openSealed(bytes, bodyStart)
      : await openEncrypted(bytes, bodyStart, preface.encryption, passphrase);
  let plain: Uint8Array;
  try {
    plain = zstdDecompressSync(zstd, { maxOutputLength: preface.contentsBytes });
  } catch (cause) {
    throw corrupt("its contents cannot be unpacked", cause);
  }
  if (plain.byteLength !== preface.contentsBytes) throw corrupt("its contents have another length");
  let value: unknown;
  try {
    // Of a Buffer it would make Buffers.
    const packed = new Uint8Array(plain.buffer, plain.byteOffset, plain.byteLength);
    checkPacked(packed);
    value = decode(packed);
  } catch (cause) {
    throw corrupt("its contents are not MessagePack", cause);
  }
  const contents = contentsSchema.safeParse(value);
  if (!contents.success) throw corrupt("its contents have missing or malformed fields");
  for (const { text, sha256: expected } of contents.data.read) {
    if (text !== null && createHash("sha256").update(text).digest("hex") !== expected)
      throw corrupt("a text in it is not the one that it names");
  }
  return contents.data;
}

function preamble(preface: Preface): Buffer {
  const json = Buffer.from(JSON.stringify(preface));
  const head = Buffer.alloc(PREAMBLE_BYTES);
  MAGIC.copy(head);
  head.writeUInt32LE(FORMAT_VERSION, 8);
  head.writeUInt32LE(json.byteLength, 12);
  return Buffer.concat([head, json]);
}

function readPreamble(bytes: Uint8Array): {
  readonly preface: Preface;
  readonly bodyStart: number;
} {
  if (!isStateFile(bytes)) {
    throw new TarnError(
      "state-foreign",
      "This is not a state file of Tarn. Choose a file that was saved with “Save memory”.",
    );
  }
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.readUInt32LE(8);
  if (version !== FORMAT_VERSION) {
    throw new TarnError(
      "state-foreign",
      `This state file has format ${version}; this Tarn reads format ${FORMAT_VERSION}. Use the version that wrote it.`,
      { version, expected: FORMAT_VERSION },
    );
  }
  const length = view.readUInt32LE(12);
  const bodyStart = PREAMBLE_BYTES + length;
  if (length > MAX_PREFACE_BYTES || bodyStart + TAG_BYTES > view.byteLength)
    throw corrupt("its preface does not fit");
  let json: unknown;
  try {
    json = JSON.parse(view.toString("utf8", PREAMBLE_BYTES, bodyStart));
  } catch (cause) {
    throw corrupt("its preface is not JSON", cause);
  }
  const preface = prefaceSchema.safeParse(json);
  if (!preface.success) throw corrupt("its preface has missing or malformed fields");
  if (preface.data.contentsBytes > MAX_RATIO * view.byteLength + MIN_CONTENTS_BYTES)
    throw corrupt("it claims to hold more than fits into it");
  return { preface: preface.data, bodyStart };
}

function openSealed(bytes: Uint8Array, bodyStart: number): Uint8Array {
  const end = bytes.byteLength - HASH_BYTES;
  if (end < bodyStart) throw corrupt("it is cut off");
  if (!timingSafeEqual(sha256(bytes.subarray(0, end)), bytes.subarray(end)))
    throw corrupt("its seal does not match its bytes");
  return bytes.subarray(bodyStart, end);
}

async function openEncrypted(
  bytes: Uint8Array,
  bodyStart: number,
  encryption: NonNullable<Preface["encryption"]>,
  passphrase: string | null,
): Promise<Uint8Array> {
  if (passphrase === null) {
    throw new TarnError(
      "unauthorized",
      "This state file is encrypted. Give the passphrase that it was saved with.",
    );
  }
  const salt = Buffer.from(encryption.salt, "hex");
  const key = await deriveKey(passphrase, salt, encryption);
  const decipher = createDecipheriv("aes-256-gcm", key, Buffer.from(encryption.nonce, "hex"), {
    authTagLength: TAG_BYTES,
  });
  const end = bytes.byteLength - TAG_BYTES;
  decipher.setAAD(bytes.subarray(0, bodyStart));
  decipher.setAuthTag(bytes.subarray(end));
  const opened = decipher.update(bytes.subarray(bodyStart, end));
  try {
    return Buffer.concat([opened, decipher.final()]);
  } catch (cause) {
    // A wrong key and a changed byte look the same to an authenticated cipher.
    throw new TarnError(
      "unauthorized",
      "That passphrase does not open this state file, or the file was changed.",
      {},
      cause,
    );
  }
}

function deriveKey(
  passphrase: string,
  salt: Buffer,
  { N, r, p }: { readonly N: number; readonly r: number; readonly p: number },
): Promise<Buffer> {
  // The same letters may be typed in composed and decomposed form.
  const secret = passphrase.normalize("NFC");
  return new Promise((resolve, reject) => {
    scrypt(secret, salt, KEY_BYTES, { N, r, p, maxmem: 256 * N * r }, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
}

function sha256(...parts: readonly Uint8Array[]): Buffer {
  const digest = createHash("sha256");
  for (const part of parts) digest.update(part);
  return digest.digest();
}

function corrupt(reason: string, cause?: unknown): TarnError {
  return new TarnError(
    "state-corrupt",
    `This state file is damaged: ${reason}. Nothing was changed; use another copy of it.`,
    { reason },
    cause,
  );
}
