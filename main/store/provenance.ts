/** How answers came about, and how states were computed; see migration 0006. */
import type { Database } from "better-sqlite3";
import { createHash } from "node:crypto";
import { zstdDecompressSync } from "node:zlib";
import { z } from "zod";
import { samplerSchema } from "../contract/dto.ts";
import { provenanceSchema, type Provenance } from "../contract/provenance.ts";
import type { Derivation, StateOwner } from "./records.ts";

const CHECKSUM_BYTES = 32;

const optionsSchema = samplerSchema.omit({ maxTokens: true });
const stepsSchema = z.array(
  z.union([
    z.object({ read: z.number().int().min(0) }),
    z.object({
      write: z.number().int().min(0),
      samplers: z.array(optionsSchema).min(1).max(64),
      branch: z.number().int().min(0),
      most: z.number().int().min(0),
      // Steps of version 1 do not name it.
      choices: z.number().int().default(1),
      // Those from before there was a choice do not name it.
      activations: z.enum(["int16", "int8"]).default("int16"),
    }),
  ]),
);

/** Inside the transaction that ends the message. */
export function saveProvenance(
  db: Database,
  input: { readonly messageId: string; readonly record: Provenance },
): void {
  db.prepare("INSERT OR REPLACE INTO provenance (message_id, record) VALUES (?, ?)").run(
    input.messageId,
    JSON.stringify(input.record),
  );
}

/** Null where none was kept. */
export function provenanceOf(
  db: Database,
  input: { readonly messageId: string },
): Provenance | null {
  const row = db
    .prepare<[string], { readonly record: string }>(
      "SELECT record FROM provenance WHERE message_id = ?",
    )
    .get(input.messageId);
  return row === undefined ? null : provenanceSchema.parse(JSON.parse(row.record));
}

/** Inside the transaction that saves the state. */
export function saveDerivation(
  db: Database,
  { kind, id }: Pick<StateOwner, "kind" | "id">,
  { stateHash, baseHash, base, position, steps, device }: Derivation,
): void {
  // The same bits by another way: either leads there.
  db.prepare(
    `INSERT OR IGNORE INTO derivations (owner_kind, owner_id, state_hash, base_hash, base, position, steps, device)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
  ).run(kind, id, stateHash, baseHash, base, position, JSON.stringify(steps), device);
}

interface DerivationRow {
  readonly stateHash: string;
  readonly baseHash: string | null;
  readonly base: number;
  readonly position: number;
  readonly steps: string;
  readonly device: string;
}

/** How a state was computed; null where that is not known. */
export function derivationOf(
  db: Database,
  input: { readonly stateHash: string },
): Derivation | null {
  const row = db
    .prepare<[string], DerivationRow>(
      `SELECT state_hash AS stateHash, base_hash AS baseHash, base, position, steps, device FROM derivations WHERE state_hash = ? LIMIT 1`,
    )
    .get(input.stateHash);
  return row === undefined ? null : { ...row, steps: stepsSchema.parse(JSON.parse(row.steps)) };
}

/**
 * Whether a stored state is what its checksum says, page by page. It stays as it is.
 * - `absent`: it is not stored (any more).
 */
export function checkState(
  db: Database,
  input: { readonly stateHash: string },
): "sound" | "damaged" | "absent" {
  const row = db
    .prepare<
      [string],
      { readonly id: number; readonly rawBytes: number; readonly zstd: Buffer | null }
    >(
      `SELECT id, raw_bytes AS rawBytes, zstd FROM snapshots LEFT JOIN snapshot_heads ON snapshot_id = id WHERE state_hash = ? LIMIT 1`,
    )
    .get(input.stateHash);
  if (row === undefined) return "absent";
  if (row.zstd === null) return "damaged";
  let head: Buffer;
  try {
    head = zstdDecompressSync(row.zstd, { maxOutputLength: row.rawBytes });
  } catch (cause) {
    if (cause instanceof Error) return "damaged";
    throw cause;
  }
  const split = Math.max(head.byteLength - CHECKSUM_BYTES, 0);
  const checksum = createHash("sha256").update(head.subarray(0, split)).digest();
  if (!checksum.equals(head.subarray(split)) || checksum.toString("hex") !== input.stateHash)
    return "damaged";
  const pages = db
    .prepare<[number], { readonly hash: Buffer; readonly data: Buffer }>(
      "SELECT hash, data FROM snapshot_pages JOIN state_pages p ON p.id = page_id WHERE snapshot_id = ?",
    )
    .iterate(row.id);
  let sound = true;
  for (const { hash, data } of pages)
    sound &&= createHash("sha256").update(data).digest().equals(hash);
  return sound ? "sound" : "damaged";
}

/** A stored state by its checksum; null where it is not stored (any more). */
export function stateByHash(
  db: Database,
  input: { readonly stateHash: string },
): { readonly stateId: number; readonly position: number } | null {
  return (
    db
      .prepare<[string], { readonly stateId: number; readonly position: number }>(
        "SELECT id AS stateId, position FROM snapshots WHERE state_hash = ? LIMIT 1",
      )
      .get(input.stateHash) ?? null
  );
}

/** What a document says, by hashes: of its file, and of its text as far as `characters` (UTF-16 units; null is all of it). Null when it was removed. */
export function documentPrint(
  db: Database,
  input: { readonly documentId: string; readonly characters: number | null },
): { readonly file: string; readonly characters: number; readonly text: string } | null {
  const row = db
    .prepare<[string], { readonly sha256: string; readonly text: string }>(
      "SELECT sha256, text FROM documents WHERE id = ?",
    )
    .get(input.documentId);
  if (row === undefined) return null;
  const text = row.text.slice(0, input.characters ?? row.text.length);
  return {
    file: row.sha256,
    characters: text.length,
    text: createHash("sha256").update(text).digest("hex"),
  };
}

/** Lets a message know by itself how the state was computed that its chat began with, whatever becomes of the state's owner. */
export function adoptDerivations(
  db: Database,
  input: { readonly stateHash: string; readonly messageId: string },
): null {
  db.prepare(
    `WITH RECURSIVE way(state_hash, base_hash) AS (
       SELECT state_hash, base_hash FROM derivations WHERE state_hash = @stateHash
       UNION SELECT d.state_hash, d.base_hash FROM derivations d JOIN way ON d.state_hash = way.base_hash
     )
     INSERT OR IGNORE INTO derivations (owner_kind, owner_id, state_hash, base_hash, base, position, steps, device)
     SELECT 'message', @messageId, d.state_hash, d.base_hash, base, position, steps, device
     FROM way JOIN derivations d ON d.state_hash = way.state_hash
     WHERE EXISTS (SELECT 1 FROM messages WHERE id = @messageId)`,
  ).run(input);
  return null;
}
