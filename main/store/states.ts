/**
 * Snapshots of the model's state: heads, compressed with zstd, and pages that snapshots share by their hash. All of it can be
 * rebuilt from token ids. The engine checks what is in the bytes (models/state/snapshot.ts); here they are opaque.
 */
import type { Database } from "better-sqlite3";
import { createHash } from "node:crypto";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { evictStates } from "./eviction.ts";
import { saveDerivation } from "./provenance.ts";
import type { Derivation, OwnerKind, StateInfo, StateSizes } from "./records.ts";

const HASH_BYTES = 32;

/** Where the rows are that own snapshots. Each of these tables has a trigger that takes its snapshots along. */
const OWNERS: Readonly<Record<OwnerKind, string>> = {
  message: "messages",
  document: "documents",
  persona: "personas",
  rebuild: "rebuilds",
};

interface StateRow {
  readonly id: number;
  readonly kind: OwnerKind;
  readonly ownerId: string;
  readonly series: string;
  readonly modelHash: string;
  readonly tokenizerHash: string;
  readonly numericVersion: number;
  readonly position: number;
  readonly prefixHash: string;
  readonly rawBytes: number;
  readonly storedBytes: number;
  readonly usedAt: number;
  readonly pinned: number;
  readonly stateHash: string | null;
}

const columns = `s.id, owner_kind AS kind, owner_id AS ownerId, series, model_hash AS modelHash, tokenizer_hash AS tokenizerHash,
  numeric_version AS numericVersion, position, prefix_hash AS prefixHash, raw_bytes AS rawBytes, stored_bytes AS storedBytes,
  used_at AS usedAt, pinned, state_hash AS stateHash`;

/** What a save takes: where the state stands, and the engine's snapshot of it. */
export interface StateToSave extends Omit<
  StateInfo,
  "id" | "rawBytes" | "storedBytes" | "usedAt" | "pinned" | "stateHash"
> {
  /** How it was computed; null where that is not known, or it was kept before. */
  readonly derivation: Omit<Derivation, "stateHash"> | null;
  /** The head, then pages: all of them, or the last ones, the new. */
  readonly bytes: Uint8Array;
  readonly headBytes: number;
  readonly pageBytes: number;
  /** SHA-256 of every page, 32 bytes each. */
  readonly pageHashes: Uint8Array;
  readonly now: number;
  /** Bytes that all states may take, see `evictStates`. */
  readonly budget: number;
}

/**
 * - `saved`: it is on disk, in place of one of the same owner, model, tokenizer, series and position.
 * - `pages-missing`: nothing was changed; pages before the given ones are not here (any more), so all of them must be given.
 * - `no-owner`: nothing was changed; the owner was removed meanwhile.
 */
export type SaveResult =
  | { readonly outcome: "saved"; readonly stateId: number; readonly stateHash: string }
  | { readonly outcome: "pages-missing" }
  | { readonly outcome: "no-owner" };

/** Stores a snapshot and makes room for it, all or nothing. @throws SqliteError `SQLITE_FULL` */
export function saveState(db: Database, input: StateToSave): SaveResult {
  const { owner } = input;
  const head = input.bytes.subarray(0, input.headBytes);
  // A head ends with the checksum of all that is before, the hashes of its pages included.
  const stateHash = Buffer.from(head.subarray(-HASH_BYTES)).toString("hex");
  // Level 1: f32 noise hardly shrinks, and higher levels only take longer.
  const zstd = zstdCompressSync(head, {
    params: { [constants.ZSTD_c_compressionLevel]: 1 },
  });
  const save = db.transaction((): SaveResult => {
    const isThere = db.prepare(`SELECT 1 FROM ${OWNERS[owner.kind]} WHERE id = ?`).get(owner.id);
    if (isThere === undefined) return { outcome: "no-owner" };
    const pages = storePages(db, input);
    if (pages === null) return { outcome: "pages-missing" };
    const stateId = upsert(db, input, stateHash, zstd.byteLength, pages.length);
    if (input.derivation !== null) saveDerivation(db, owner, { ...input.derivation, stateHash });
    db.prepare("INSERT OR REPLACE INTO snapshot_heads (snapshot_id, zstd) VALUES (?, ?)").run(
      stateId,
      zstd,
    );
    const use = db.prepare(
      `INSERT INTO snapshot_pages (snapshot_id, ordinal, page_id) VALUES (?, ?, ?)
       ON CONFLICT (snapshot_id, ordinal) DO UPDATE SET page_id = excluded.page_id`,
    );
    for (const [ordinal, page] of pages.entries()) use.run(stateId, ordinal, page);
    evictStates(db, input.budget, stateId);
    return { outcome: "saved", stateId, stateHash };
  });
  return save();
}

/** The row of this place, new or with new facts. A pin stays. @returns its id */
function upsert(
  db: Database,
  input: StateToSave,
  stateHash: string,
  storedBytes: number,
  pages: number,
): number {
  const row = db
    .prepare<[Record<string, string | number>], { readonly id: number }>(
      `INSERT INTO snapshots (owner_kind, owner_id, series, model_hash, tokenizer_hash, numeric_version, position, prefix_hash,
         raw_bytes, stored_bytes, used_at, state_hash)
       VALUES (@kind, @ownerId, @series, @modelHash, @tokenizerHash, @numericVersion, @position, @prefixHash,
         @rawBytes, @storedBytes, @now, @stateHash)
       ON CONFLICT (owner_kind, owner_id, model_hash, tokenizer_hash, series, position) DO UPDATE SET
         numeric_version = excluded.numeric_version, prefix_hash = excluded.prefix_hash, raw_bytes = excluded.raw_bytes,
         stored_bytes = excluded.stored_bytes, used_at = excluded.used_at, state_hash = excluded.state_hash
       RETURNING id`,
    )
    .get({
      kind: input.owner.kind,
      ownerId: input.owner.id,
      series: input.owner.series,
      modelHash: input.modelHash,
      tokenizerHash: input.tokenizerHash,
      numericVersion: input.numericVersion,
      position: input.position,
      prefixHash: input.prefixHash,
      rawBytes: input.headBytes + pages * input.pageBytes,
      storedBytes,
      now: input.now,
      stateHash,
    });
  if (row === undefined) throw new Error("SQLite returned no row for an insert");
  return row.id;
}

/** Ids of all pages of the snapshot, in order, those that are new stored; null where an earlier one is not here. */
function storePages(
  db: Database,
  { bytes, headBytes, pageBytes, pageHashes }: StateToSave,
): number[] | null {
  const count = pageHashes.byteLength / HASH_BYTES;
  const given = pageBytes === 0 ? 0 : (bytes.byteLength - headBytes) / pageBytes;
  const find = db.prepare<[Uint8Array], { readonly id: number }>(
    "SELECT id FROM state_pages WHERE hash = ?",
  );
  const insert = db.prepare("INSERT INTO state_pages (hash, bytes, data) VALUES (?, ?, ?)");
  const ids: number[] = [];
  for (let ordinal = 0; ordinal < count; ordinal++) {
    const hash = pageHashes.subarray(ordinal * HASH_BYTES, (ordinal + 1) * HASH_BYTES);
    const found = find.get(hash);
    if (found !== undefined) {
      ids.push(found.id);
      continue;
    }
    const start = headBytes + (ordinal - (count - given)) * pageBytes;
    if (start < headBytes) return null;
    const data = bytes.subarray(start, start + pageBytes);
    ids.push(Number(insert.run(hash, pageBytes, data).lastInsertRowid));
  }
  return ids;
}

/** Facts of an owner's snapshots of one model, or of all; by series, the furthest first. */
export function statesOf(
  db: Database,
  input: {
    readonly kind: OwnerKind;
    readonly ownerId: string;
    /** Null: of all models. */
    readonly modelHash: string | null;
  },
): StateInfo[] {
  return db
    .prepare<[typeof input], StateRow>(
      `SELECT ${columns} FROM snapshots s WHERE owner_kind = @kind AND owner_id = @ownerId
         AND (@modelHash IS NULL OR model_hash = @modelHash) ORDER BY series, position DESC, used_at DESC`,
    )
    .all(input)
    .map(toState);
}

/** Facts of the snapshots along the path to this message, of one model or of all; nearest first. */
export function statesOnPath(
  db: Database,
  input: { readonly messageId: string; readonly modelHash: string | null },
): StateInfo[] {
  return db
    .prepare<[typeof input], StateRow>(
      `WITH RECURSIVE path(id, parent_id, depth) AS (
         SELECT id, parent_id, 0 FROM messages WHERE id = @messageId
         UNION ALL SELECT m.id, m.parent_id, path.depth + 1 FROM messages m JOIN path ON m.id = path.parent_id
       )
       SELECT ${columns} FROM path CROSS JOIN snapshots s ON s.owner_kind = 'message' AND s.owner_id = path.id
       WHERE @modelHash IS NULL OR s.model_hash = @modelHash ORDER BY path.depth, used_at DESC`,
    )
    .all(input)
    .map(toState);
}

/** Chats whose end has states of this model, but only of other numeric versions; the last used first. */
export function outdatedChats(
  db: Database,
  input: {
    readonly modelHash: string;
    readonly tokenizerHash: string;
    readonly numericVersions: readonly number[];
  },
): string[] {
  const ofTip = `SELECT 1 FROM snapshots WHERE owner_kind = 'message' AND owner_id = c.tip_id
    AND model_hash = @modelHash AND tokenizer_hash = @tokenizerHash`;
  return db
    .prepare<
      [{ modelHash: string; tokenizerHash: string; versions: string }],
      { readonly id: string }
    >(
      `SELECT id FROM chats c WHERE deleted_at IS NULL AND tip_id IS NOT NULL AND EXISTS (${ofTip})
         AND NOT EXISTS (${ofTip} AND numeric_version IN (SELECT value FROM json_each(@versions)))
       ORDER BY updated_at DESC`,
    )
    .all({
      modelHash: input.modelHash,
      tokenizerHash: input.tokenizerHash,
      versions: JSON.stringify(input.numericVersions),
    })
    .map(({ id }) => id);
}

/**
 * The snapshot's bytes: its head, then all its pages. Null when there is none. What cannot be decompressed to its size, or lacks a
 * page, is removed: `damaged`.
 */
export function loadState(
  db: Database,
  input: { readonly stateId: number; readonly now: number },
): { readonly bytes: Uint8Array | null; readonly damaged: boolean } {
  const row = db
    .prepare<[number], { readonly raw_bytes: number; readonly zstd: Buffer | null }>(
      "SELECT raw_bytes, zstd FROM snapshots LEFT JOIN snapshot_heads ON snapshot_id = id WHERE id = ?",
    )
    .get(input.stateId);
  if (row === undefined) return { bytes: null, damaged: false };
  const bytes = row.zstd === null ? null : assemble(db, input.stateId, row.zstd, row.raw_bytes);
  if (bytes === null) {
    dropState(db, { stateId: input.stateId, damaged: true });
    return { bytes: null, damaged: true };
  }
  db.prepare("UPDATE snapshots SET used_at = ? WHERE id = ?").run(input.now, input.stateId);
  return { bytes, damaged: false };
}

/** @param input.damaged what was loaded was refused as corrupt: every snapshot goes that uses a page which is not what its hash says */
export function dropState(
  db: Database,
  input: { readonly stateId: number; readonly damaged: boolean },
): null {
  db.transaction(() => {
    const pages = input.damaged ? damagedPages(db, input.stateId) : [];
    db.prepare("DELETE FROM snapshots WHERE id = ?").run(input.stateId);
    const drop = db.prepare(
      "DELETE FROM snapshots WHERE id IN (SELECT snapshot_id FROM snapshot_pages WHERE page_id = ?)",
    );
    for (const page of pages) drop.run(page);
  })();
  return null;
}

/** A pinned snapshot is the last to go. True when there was one. */
export function pinState(
  db: Database,
  input: { readonly stateId: number; readonly pinned: boolean },
): boolean {
  return (
    db
      .prepare("UPDATE snapshots SET pinned = ? WHERE id = ?")
      .run(Number(input.pinned), input.stateId).changes > 0
  );
}

/** Of each message's stored states: bytes of the largest, compressed, 0 where none is stored; and whether one is pinned. */
export function statesOfMessages(
  db: Database,
  input: { readonly messageIds: readonly string[] },
): { readonly bytes: number; readonly isPinned: boolean }[] {
  const all = db.prepare<[string], { readonly bytes: number; readonly pinned: number }>(
    `SELECT coalesce(max(stored_bytes), 0) AS bytes, coalesce(max(pinned), 0) AS pinned
     FROM snapshots WHERE owner_kind = 'message' AND owner_id = ?`,
  );
  return input.messageIds.map((id) => {
    const { bytes, pinned } = all.get(id) ?? { bytes: 0, pinned: 0 };
    return { bytes, isPinned: pinned !== 0 };
  });
}

/** Bytes of all snapshots on disk. */
export function stateSizes(db: Database, _input: Record<string, never>): StateSizes {
  const sizes = db
    .prepare<[], StateSizes>(
      `SELECT (SELECT count(*) FROM snapshots) AS snapshots, (SELECT count(*) FROM state_pages) AS pages,
         (SELECT coalesce(sum(stored_bytes), 0) FROM snapshots) + (SELECT coalesce(sum(bytes), 0) FROM state_pages) AS bytes,
         (SELECT count(*) FROM snapshots WHERE pinned <> 0) AS pinned`,
    )
    .get();
  return sizes ?? { snapshots: 0, pages: 0, bytes: 0, pinned: 0 };
}

/** Makes room where the budget has become smaller. @returns how many snapshots went */
export function shrinkStates(db: Database, input: { readonly budget: number }): number {
  return db.transaction(() => evictStates(db, input.budget, null))();
}

/** Of the pages of a snapshot. */
function damagedPages(db: Database, stateId: number): number[] {
  const pages = db
    .prepare<[number], { readonly id: number; readonly hash: Buffer; readonly data: Buffer }>(
      "SELECT p.id, hash, data FROM snapshot_pages JOIN state_pages p ON p.id = page_id WHERE snapshot_id = ?",
    )
    .iterate(stateId);
  const damaged: number[] = [];
  for (const { id, hash, data } of pages)
    if (!createHash("sha256").update(data).digest().equals(hash)) damaged.push(id);
  return damaged;
}

/** Head and pages as one; null where they are not as long as they were. */
function assemble(
  db: Database,
  stateId: number,
  zstd: Buffer,
  rawBytes: number,
): Uint8Array<ArrayBuffer> | null {
  const head = decompress(zstd, rawBytes);
  if (head === null) return null;
  const pages = db
    .prepare<[number], { readonly data: Buffer }>(
      "SELECT data FROM snapshot_pages JOIN state_pages p ON p.id = page_id WHERE snapshot_id = ? ORDER BY ordinal",
    )
    .iterate(stateId);
  const bytes = new Uint8Array(rawBytes);
  bytes.set(head);
  let at = head.byteLength;
  let whole = true;
  for (const { data } of pages) {
    whole &&= at + data.byteLength <= rawBytes;
    if (whole) bytes.set(data, at);
    at += data.byteLength;
  }
  return whole && at === rawBytes ? bytes : null;
}

/** Null for what is not zstd, or is more than `most` bytes. */
function decompress(zstd: Buffer, most: number): Uint8Array | null {
  try {
    return zstdDecompressSync(zstd, { maxOutputLength: most });
  } catch (cause) {
    if (cause instanceof Error) return null;
    throw cause;
  }
}

function toState({ kind, ownerId, series, pinned, ...facts }: StateRow): StateInfo {
  return { ...facts, owner: { kind, id: ownerId, series }, pinned: pinned !== 0 };
}
