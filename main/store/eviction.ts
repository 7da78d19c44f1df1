/** Which states go first when there is no room for all of them. Any can be rebuilt from token ids; what differs is the cost. */
import type { Database } from "better-sqlite3";
import type { OwnerKind } from "./records.ts";

/** Below the budget by so much, so that not every save has to look for room. */
const HEADROOM = 0.03;

/** A state whose words are not here, of an imported file without them, could not be rebuilt: it never goes. */
const IS_SEALED = `owner_kind = 'message' AND EXISTS (
  SELECT 1 FROM messages m WHERE m.id = owner_id AND m.role = 'system' AND m.text = '' AND m.persona IS NULL
)`;

/** What eviction needs to know of a snapshot. */
export interface Candidate {
  readonly id: number;
  readonly kind: OwnerKind;
  readonly ownerId: string;
  readonly series: string;
  readonly modelHash: string;
  readonly tokenizerHash: string;
  readonly position: number;
  readonly usedAt: number;
  readonly pinned: number;
}

/** The forest of messages, as far as eviction needs it. */
export interface Forest {
  /** Of each message. */
  readonly parents: ReadonlyMap<string, string | null>;
  /** Of each chat. */
  readonly tips: readonly string[];
}

/** How much a snapshot saves: those of a lower one go first. */
const ORDINARY = 0;
const ANCESTOR = 1;
const NEWEST = 2;
const PINNED = 3;

/**
 * The order in which snapshots go: by what they save, the least recently used first.
 *
 * The tip of a chat and the furthest of a document's series stay longest, as most turns go on from there; then ancestors whose
 * distance from a tip (in messages, or in checkpoints) is a power of two: whatever place is asked for, one is about as near as the
 * place is far from the tip, so that reading it again costs at most about twice the distance. Pins outlast everything.
 */
export function evictionOrder(candidates: readonly Candidate[], forest: Forest): Candidate[] {
  const ranks = new Map<string, number>();
  const raise = (owner: string, rank: number): void =>
    void ranks.set(owner, Math.max(rank, ranks.get(owner) ?? ORDINARY));
  for (const tip of forest.tips) {
    let distance = 0;
    for (let id: string | null = tip; id !== null; id = forest.parents.get(id) ?? null) {
      if (distance === 0) raise(id, NEWEST);
      else if (isPowerOfTwo(distance)) raise(id, ANCESTOR);
      distance++;
    }
  }
  const places = documentPlaces(candidates);
  const rankOf = (candidate: Candidate): number => {
    if (candidate.pinned !== 0) return PINNED;
    if (candidate.kind === "message") return ranks.get(candidate.ownerId) ?? ORDINARY;
    // One a persona, asked for with every chat that begins with it; one a chat that is read again, with which that goes on.
    if (candidate.kind === "persona" || candidate.kind === "rebuild") return NEWEST;
    // Of chunks there are many, each read again in a moment.
    if (candidate.series.startsWith("chunk/")) return ORDINARY;
    const place = places.get(candidate.id) ?? 0;
    if (place === 0) return NEWEST;
    return isPowerOfTwo(place) ? ANCESTOR : ORDINARY;
  };
  return candidates
    .map((candidate) => ({ candidate, rank: rankOf(candidate) }))
    .toSorted(
      (a, b) =>
        a.rank - b.rank ||
        a.candidate.usedAt - b.candidate.usedAt ||
        a.candidate.id - b.candidate.id,
    )
    .map(({ candidate }) => candidate);
}

/** How many snapshots of its series are further, of each of a document's. */
function documentPlaces(candidates: readonly Candidate[]): ReadonlyMap<number, number> {
  const series = Map.groupBy(
    candidates.filter(({ kind }) => kind === "document"),
    (one) => JSON.stringify([one.ownerId, one.series, one.modelHash, one.tokenizerHash]),
  );
  const places = new Map<number, number>();
  for (const snapshots of series.values()) {
    const furthest = snapshots.toSorted((a, b) => b.position - a.position);
    for (const [place, { id }] of furthest.entries()) places.set(id, place);
  }
  return places;
}

function isPowerOfTwo(count: number): boolean {
  return count > 0 && Number.isInteger(Math.log2(count));
}

/**
 * Removes snapshots, heads and the pages that nobody else uses, until all fit into `budget` bytes. Inside a transaction.
 * @param keep the one that was just saved: it stays, whatever its size
 * @returns how many went
 */
export function evictStates(db: Database, budget: number, keep: number | null): number {
  const held =
    db
      .prepare<[], { readonly bytes: number }>(
        `SELECT (SELECT coalesce(sum(stored_bytes), 0) FROM snapshots) + (SELECT coalesce(sum(bytes), 0) FROM state_pages) AS bytes`,
      )
      .get()?.bytes ?? 0;
  if (held <= budget) return 0;
  let over = held - budget * (1 - HEADROOM);
  const order = evictionOrder(candidatesBut(db, keep), forestOf(db));
  // What a snapshot frees: its head, and the pages of which it is the only user.
  const freed = db.prepare<[{ id: number }], { readonly bytes: number }>(
    `SELECT stored_bytes + (
       SELECT coalesce(sum(p.bytes), 0) FROM snapshot_pages u JOIN state_pages p ON p.id = u.page_id
       WHERE u.snapshot_id = @id AND NOT EXISTS (SELECT 1 FROM snapshot_pages o WHERE o.page_id = u.page_id AND o.snapshot_id <> @id)
     ) AS bytes FROM snapshots WHERE id = @id`,
  );
  const drop = db.prepare("DELETE FROM snapshots WHERE id = ?");
  let gone = 0;
  for (const { id } of order) {
    if (over <= 0) break;
    over -= freed.get({ id })?.bytes ?? 0;
    drop.run(id);
    gone++;
  }
  return gone;
}

function candidatesBut(db: Database, keep: number | null): Candidate[] {
  return db
    .prepare<[number | null], Candidate>(
      `SELECT id, owner_kind AS kind, owner_id AS ownerId, series, model_hash AS modelHash, tokenizer_hash AS tokenizerHash,
         position, used_at AS usedAt, pinned FROM snapshots WHERE id IS NOT ? AND NOT (${IS_SEALED})`,
    )
    .all(keep);
}

function forestOf(db: Database): Forest {
  const messages = db
    .prepare<[], { readonly id: string; readonly parent_id: string | null }>(
      "SELECT id, parent_id FROM messages",
    )
    .all();
  const chats = db
    .prepare<[], { readonly tip_id: string }>("SELECT tip_id FROM chats WHERE tip_id IS NOT NULL")
    .all();
  return {
    parents: new Map(messages.map(({ id, parent_id }) => [id, parent_id])),
    tips: chats.map(({ tip_id }) => tip_id),
  };
}
