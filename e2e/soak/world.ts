/** One data folder, the program that works on it, and its end without warning. */
import BetterSqlite3 from "better-sqlite3";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { zstdDecompressSync } from "node:zlib";
import type { CallInput, CallName, CallOutput } from "../../main/contract/contract.ts";
import type { Derivation, Replay } from "./derivation.ts";
import { startProgram, type Program } from "./process.ts";

export class World {
  readonly #folder = mkdtempSync(path.join(tmpdir(), "tarn-soak-"));
  readonly #models: string;
  #app: Program | null = null;
  #kills = 0;

  /** @param models the folder that holds `models/` with the model */
  constructor(models: string) {
    this.#models = models;
  }

  get kills(): number {
    return this.#kills;
  }

  async start(): Promise<void> {
    const data = path.join(this.#folder, "data");
    mkdirSync(data, { recursive: true });
    this.#app = await startProgram("soak-app", [data, this.#models, this.#journal]);
  }

  get #journal(): string {
    return path.join(this.#folder, "journal");
  }

  /** @throws Error when the file is not sound afterwards, or the program complains when it starts again */
  async killAndStart(): Promise<void> {
    await this.#app?.kill();
    this.#kills++;
    const findings = this.#inFile((db) => db.pragma("integrity_check", { simple: true }));
    if (findings !== "ok") throw new Error(`the database is damaged: ${String(findings)}`);
    await this.start();
    const complaint = this.#app?.notices.find(({ kind }) => kind !== "info");
    if (complaint !== undefined) throw new Error(`told after a kill: ${complaint.text}`);
  }

  async end(): Promise<void> {
    await this.#app?.kill();
    this.#app = null;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async call<N extends CallName>(call: N, input: CallInput<N>): Promise<CallOutput<N>> {
    // The other side checks it against the contract.
    return (await this.#ask({ call, input })) as CallOutput<N>;
  }

  /** From now on, `tokens` are continued on a fork of whatever the running program reads. */
  async continueWith(tokens: number): Promise<void> {
    await this.#ask({ call: "soak.continue", input: tokens });
  }

  /** How each of them came about, oldest first. */
  async continuations(): Promise<Derivation[]> {
    return (await this.#ask({ call: "soak.continuations" })) as Derivation[];
  }

  /** Of every message in the file. */
  texts(): ReadonlyMap<string, string> {
    return this.#inFile(
      (db) =>
        new Map(
          db
            .prepare<[], { readonly id: string; readonly text: string }>(
              "SELECT id, text FROM messages",
            )
            .all()
            .map(({ id, text }) => [id, text]),
        ),
    );
  }

  /** The truth: ids of the path down to a message, from the file. */
  idsOnPath(messageId: string): number[] {
    const rows = this.#inFile((db) =>
      db
        .prepare<[string], { readonly ids: Buffer }>(
          `WITH RECURSIVE path(id, parent_id, depth) AS (
             SELECT id, parent_id, 0 FROM messages WHERE id = ?
             UNION ALL SELECT m.id, m.parent_id, path.depth + 1 FROM messages m JOIN path ON m.id = path.parent_id
           )
           SELECT ids FROM path JOIN message_ids ON message_id = path.id ORDER BY depth DESC`,
        )
        .all(messageId),
    );
    return rows.flatMap(({ ids }) => [...new Int32Array(new Uint8Array(ids).buffer)]);
  }

  /**
   * The states of a document as they are in the file, of the whole and of its chunks, with how each came about.
   * @throws Error for one that no program took
   */
  documentStates(documentId: string): (Replay & { readonly series: string })[] {
    const heads = this.#inFile((db) =>
      db
        .prepare<
          [string],
          { readonly series: string; readonly tokenizerHash: string; readonly zstd: Buffer }
        >(
          `SELECT series, tokenizer_hash AS tokenizerHash, zstd FROM snapshots JOIN snapshot_heads ON snapshot_id = id
           WHERE owner_kind = 'document' AND owner_id = ?`,
        )
        .all(documentId),
    );
    const taken = new Map<string, Derivation>();
    for (const line of readFileSync(this.#journal, "utf8").split("\n").slice(0, -1)) {
      const [head, derivation]: [string, Derivation] = JSON.parse(line);
      taken.set(head, derivation);
    }
    return heads.map(({ series, tokenizerHash, zstd }) => {
      const head = createHash("sha256").update(zstdDecompressSync(zstd)).digest("hex");
      const derivation = taken.get(head);
      if (derivation === undefined)
        throw new Error(`nobody took the state ${series} of a document`);
      return { series, derivation, state: { head, tokenizerHash } };
    });
  }

  #ask(request: Readonly<Record<string, unknown>>): Promise<unknown> {
    if (this.#app === null) throw new Error("the program is not running");
    return this.#app.ask(request);
  }

  /** Looks at a copy: the file is the program's alone, and to open what a killed one left would tidy it up. */
  #inFile<T>(look: (db: BetterSqlite3.Database) => T): T {
    const copy = mkdtempSync(path.join(this.#folder, "copy-"));
    for (const name of ["tarn.sqlite", "tarn.sqlite-wal"]) {
      const from = path.join(this.#folder, "data", name);
      if (existsSync(from)) copyFileSync(from, path.join(copy, name));
    }
    const db = new BetterSqlite3(path.join(copy, "tarn.sqlite"));
    try {
      return look(db);
    } finally {
      db.close();
      rmSync(copy, { recursive: true });
    }
  }
}
