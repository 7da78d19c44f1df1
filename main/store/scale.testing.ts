import type { Database } from "better-sqlite3";
import { randomBytes } from "node:crypto";

/** 10,000 messages in chats of 20, 200 documents of 50 kB. */
export const SCALE = { chats: 500, messagesOfChat: 20, documents: 200, textBytes: 50_000 } as const;

/** Fills an empty database: chats with ids and states, every tenth a fork, and documents with passages. */
export function generateScale(db: Database): void {
  const chat = db.prepare(
    "INSERT INTO chats (id, title, pinned, base_id, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)",
  );
  const tip = db.prepare("UPDATE chats SET tip_id = ? WHERE id = ?");
  const message = db.prepare(
    `INSERT INTO messages (id, chat_id, parent_id, role, text, status, tokens, created_at) VALUES (?, ?, ?, ?, ?, 'done', 20, ?)`,
  );
  const ids = db.prepare(
    "INSERT INTO message_ids (message_id, tokenizer_hash, ids) VALUES (?, 'tokenizer', ?)",
  );
  const snapshot = db.prepare(
    `INSERT INTO snapshots (owner_kind, owner_id, series, model_hash, tokenizer_hash, numeric_version, position, prefix_hash,
       raw_bytes, stored_bytes, used_at, state_hash) VALUES ('message', ?, '', 'model', 'tokenizer', 1, ?, 'p', 500, 500, ?, ?)`,
  );
  const derivation = db.prepare("INSERT INTO derivations VALUES ('message', ?, ?, ?, ?, ?, ?, ?)");
  const head = db.prepare("INSERT INTO snapshot_heads (snapshot_id, zstd) VALUES (?, ?)");
  const document = db.prepare(
    "INSERT INTO documents (id, name, media_type, bytes, sha256, text, created_at) VALUES (?, ?, 'text/plain', ?, ?, ?, ?)",
  );
  const passage = db.prepare(
    `INSERT INTO passages (document_id, ordinal, start, "end", text) VALUES (?, ?, ?, ?, ?)`,
  );
  const words = "the quick brown fox jumps over a lazy dog and ".repeat(12).slice(0, 500);
  db.transaction(() => {
    for (let c = 0; c < SCALE.chats; c++) {
      const first = c * SCALE.messagesOfChat;
      const base = c % 10 === 9 ? `message ${first - SCALE.messagesOfChat + 5}` : null;
      chat.run(`chat ${c}`, `Chat ${c}`, Number(c % 50 === 0), base, c, (c * 7919) % 10_000);
      for (let m = first; m < first + SCALE.messagesOfChat; m++) {
        const parent = m === first ? base : `message ${m - 1}`;
        const role = m % 2 === 0 ? "user" : "assistant";
        message.run(`message ${m}`, `chat ${c}`, parent, role, words, m);
        ids.run(`message ${m}`, Buffer.alloc(80));
        const { lastInsertRowid } = snapshot.run(
          `message ${m}`,
          20 * (m - first + 1),
          m,
          `state ${m}`,
        );
        const from = m === first ? null : `state ${m - 1}`;
        derivation.run(
          `message ${m}`,
          `state ${m}`,
          from,
          20 * (m - first),
          20 * (m - first + 1),
          "[]",
          "d",
        );
        head.run(lastInsertRowid, randomBytes(500));
      }
      tip.run(`message ${first + SCALE.messagesOfChat - 1}`, `chat ${c}`);
    }
    const text = words.repeat(SCALE.textBytes / words.length);
    for (let d = 0; d < SCALE.documents; d++) {
      document.run(`document ${d}`, `Document ${d}.txt`, text.length, `hash ${d}`, text, d);
      for (let p = 0; p * 1000 < text.length; p++)
        passage.run(
          `document ${d}`,
          p,
          p * 1000,
          p * 1000 + 1000,
          text.slice(p * 1000, p * 1000 + 1000),
        );
    }
  })();
}
