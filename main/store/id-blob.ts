/** Token ids as SQLite keeps them: little-endian i32, as every platform has them that Tarn runs on. */

export function toBlob(ids: Int32Array): Buffer {
  return Buffer.from(ids.buffer, ids.byteOffset, ids.byteLength);
}

/** Copied, because SQLite's bytes need not begin at a multiple of four. */
export function fromBlob(blob: Buffer): Int32Array {
  const ids = new Int32Array(blob.byteLength / 4);
  new Uint8Array(ids.buffer).set(blob);
  return ids;
}
