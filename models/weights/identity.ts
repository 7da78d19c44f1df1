import type { StoredTensors } from "./stored-tensors.ts";

/** Tensors up to this size are hashed whole. */
const WHOLE_BYTES = 1024 * 1024;
/** Of larger ones, so many pieces, evenly spread, the first and the last bytes among them. */
const PIECES = 16;
const PIECE_BYTES = 64 * 1024;

/**
 * SHA-256 (hex) that names a model: what states are bound to. Over the configuration's bytes, the type that matrices
 * are rounded to on load, and every tensor's name, type, shape and bytes; of tensors beyond 1 MiB, 16 pieces of 64 KiB.
 * Why not every byte, and what that means: docs/decisions/0005-model-identity.md.
 */
export async function modelIdentity(
  tensors: StoredTensors,
  config: Uint8Array,
  quantise: string | null,
): Promise<string> {
  const parts: Uint8Array[] = [await sha256(config)];
  for (const name of tensors.names().toSorted()) {
    const { dtype, shape, bytes } = tensors.info(name);
    parts.push(await sha256(new TextEncoder().encode(JSON.stringify([name, dtype, shape]))));
    for (const [from, length] of sampledPieces(bytes))
      parts.push(await sha256(await tensors.readStored(name, from, length)));
  }
  parts.push(new TextEncoder().encode(quantise ?? "as stored"));
  return hex(await sha256(concatenate(parts)));
}

function sampledPieces(bytes: number): readonly (readonly [from: number, length: number])[] {
  if (bytes <= WHOLE_BYTES) return [[0, bytes]];
  return Array.from({ length: PIECES }, (_, i) => [
    Math.floor(((bytes - PIECE_BYTES) * i) / (PIECES - 1)),
    PIECE_BYTES,
  ]);
}

async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes)));
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
