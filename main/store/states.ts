/** Snapshots of the model's state behind messages: opaque bytes that carry their own checksum, compressed with zstd. */
import type { Database } from "better-sqlite3";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { StateInfo } from "./records.ts";

/** Compressed bytes of all states together; beyond it the least recently used that is no chat's tip goes. All can be rebuilt. */
const STATES_BUDGET = 8 * 1024 ** 3;

const columns = `message_id AS messageId, model_hash AS modelHash, tokenizer_hash AS tokenizerHash, position,
  prefix_hash AS prefixHash, raw_bytes AS rawBytes, stored_bytes AS storedBytes`;

export function saveState(
  db: Database,
  input: Omit<StateInfo, "rawBytes" | "storedBytes"> & {
    readonly bytes: Uint8Array;
    readonly now: number;
    readonly budget?: number;
  },
): StateInfo {
  // Level 1: f32 noise hardly shrinks, and higher levels only take longer.
  const zstd = zstdCompressSync(input.bytes, {
    params: { [constants.ZSTD_c_compressionLevel]: 1 },
  });
  const info: StateInfo = {
    messageId: input.messageId,
    modelHash: input.modelHash,
    tokenizerHash: input.tokenizerHash,
    position: input.position,
    prefixHash: input.prefixHash,
    rawBytes: input.bytes.byteLength,
    storedBytes: zstd.byteLength,
  };
  db.transaction(() => {
    db.prepare(
      `INSERT OR REPLACE INTO states (message_id, model_hash, tokenizer_hash, position, prefix_hash, raw_bytes, stored_bytes, used_at, zstd)
       VALUES (@messageId, @modelHash, @tokenizerHash, @position, @prefixHash, @rawBytes, @storedBytes, @now, @zstd)`,
    ).run({ ...info, now: input.now, zstd });
    evictStates(db, input.budget ?? STATES_BUDGET, input.messageId);
  })();
  return info;
}

/** Facts of the states along the path to this message, nearest first. */
export function statesOnPath(
  db: Database,
  input: { readonly messageId: string; readonly modelHash: string },
): StateInfo[] {
  return db
    .prepare<[{ id: string; model: string }], StateInfo>(
      `WITH RECURSIVE path(id, parent_id, depth) AS (
         SELECT id, parent_id, 0 FROM messages WHERE id = @id
         UNION ALL SELECT m.id, m.parent_id, path.depth + 1 FROM messages m JOIN path ON m.id = path.parent_id
       )
       SELECT ${columns} FROM path JOIN states s ON s.message_id = path.id AND s.model_hash = @model ORDER BY path.depth`,
    )
    .all({ id: input.messageId, model: input.modelHash });
}

/** Any state of this message, whichever model it is of: for showing its size. */
export function stateOf(db: Database, input: { readonly messageId: string }): StateInfo | null {
  return (
    db
      .prepare<[string], StateInfo>(
        `SELECT ${columns} FROM states WHERE message_id = ? ORDER BY used_at DESC`,
      )
      .get(input.messageId) ?? null
  );
}

/** The snapshot's bytes; null when there is none, or what is stored cannot be decompressed to its size (then it is removed). */
export function loadState(
  db: Database,
  input: { readonly messageId: string; readonly modelHash: string; readonly now: number },
): { readonly bytes: Uint8Array | null; readonly damaged: boolean } {
  const row = db
    .prepare<[string, string], { readonly zstd: Buffer; readonly raw_bytes: number }>(
      "SELECT zstd, raw_bytes FROM states WHERE message_id = ? AND model_hash = ?",
    )
    .get(input.messageId, input.modelHash);
  if (row === undefined) return { bytes: null, damaged: false };
  const bytes = decompress(row.zstd, row.raw_bytes);
  if (bytes === null) {
    dropState(db, input);
    return { bytes: null, damaged: true };
  }
  db.prepare("UPDATE states SET used_at = ? WHERE message_id = ? AND model_hash = ?").run(
    input.now,
    input.messageId,
    input.modelHash,
  );
  return { bytes, damaged: false };
}

export function dropState(
  db: Database,
  input: { readonly messageId: string; readonly modelHash: string },
): null {
  db.prepare("DELETE FROM states WHERE message_id = ? AND model_hash = ?").run(
    input.messageId,
    input.modelHash,
  );
  return null;
}

function decompress(zstd: Buffer, rawBytes: number): Uint8Array | null {
  try {
    const bytes = zstdDecompressSync(zstd, { maxOutputLength: rawBytes });
    return bytes.byteLength === rawBytes ? bytes : null;
  } catch (cause) {
    if (cause instanceof Error) return null;
    throw cause;
  }
}

function evictStates(db: Database, budget: number, keep: string): void {
  const total =
    db
      .prepare<[], { readonly bytes: number }>(
        "SELECT coalesce(sum(stored_bytes), 0) AS bytes FROM states",
      )
      .get()?.bytes ?? 0;
  let over = total - budget;
  if (over <= 0) return;
  const candidates = db.prepare<
    [string],
    { readonly messageId: string; readonly modelHash: string; readonly storedBytes: number }
  >(
    `SELECT message_id AS messageId, model_hash AS modelHash, stored_bytes AS storedBytes FROM states
     WHERE message_id <> ? AND message_id NOT IN (SELECT tip_id FROM chats WHERE tip_id IS NOT NULL) ORDER BY used_at`,
  );
  for (const state of candidates.all(keep)) {
    if (over <= 0) return;
    dropState(db, state);
    over -= state.storedBytes;
  }
}
