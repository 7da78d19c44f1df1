/** Measurements that a command has not finished: what `--seconds` leaves for the next call of the same command. */
import { createHash } from "node:crypto";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { z } from "zod";
import { verdictSchema } from "./results.ts";

const pair = z.object({ ours: z.number(), theirs: z.number(), busy: z.number().nullable() });

const about = z.object({
  peer: z.string(),
  peerDevice: z.string(),
  tarnDevice: z.string(),
  weightBytes: z.number(),
});

const comparison = z.object({
  about: about.optional(),
  verdict: verdictSchema.optional(),
  pairs: z.record(z.string(), z.array(pair)),
});

/** One timed run of both engines, in seconds, and the share of the machine that was busy before it. */
export type Pair = z.infer<typeof pair>;
/** What the gate said; numbers that are none are null. */
export type KeptVerdict = z.infer<typeof verdictSchema>;
/** Of two engines on one file: what is known so far, by measure. */
export type KeptComparison = z.infer<typeof comparison>;

/** The clock says that the next run would not fit; what was measured is kept. */
export class OutOfTime extends Error {
  override readonly name = "OutOfTime";
}

/** Everything that one command has measured so far. */
export class Unfinished {
  readonly #file: string | null;
  readonly #end: number;
  readonly #comparisons: Map<string, KeptComparison>;

  private constructor(file: string | null, end: number, known: Map<string, KeptComparison>) {
    this.#file = file;
    this.#end = end;
    this.#comparisons = known;
  }

  /** For a command without `--seconds`: nothing is kept, and time does not end. */
  static none(): Unfinished {
    return new Unfinished(null, Infinity, new Map());
  }

  /**
   * @param identity what has to be the same for a result to count: the command, the engine, the machine
   * @param seconds of this call
   */
  static async open(
    folder: string,
    identity: readonly string[],
    seconds: number,
  ): Promise<Unfinished> {
    const name = createHash("sha256").update(JSON.stringify(identity)).digest("hex").slice(0, 16);
    const file = path.join(folder, `unfinished-${name}.json`);
    const text = await readFile(file, "utf8").catch(() => "{}");
    const known = z.record(z.string(), comparison).parse(JSON.parse(text));
    return new Unfinished(file, performance.now() + 1000 * seconds, new Map(Object.entries(known)));
  }

  /** The record of two engines on one file, to be written into. */
  comparison(key: string): KeptComparison {
    const known = this.#comparisons.get(key) ?? { pairs: {} };
    this.#comparisons.set(key, known);
    return known;
  }

  /** Keeps what the records hold now. */
  async save(): Promise<void> {
    if (this.#file === null) return;
    await writeFile(`${this.#file}.new`, JSON.stringify(Object.fromEntries(this.#comparisons)));
    await rename(`${this.#file}.new`, this.#file);
  }

  /** @throws OutOfTime where that many seconds more would be too many */
  mustFit(seconds: number): void {
    if (performance.now() + 1000 * seconds > this.#end) throw new OutOfTime();
  }

  /** The command is finished: its next call starts anew. */
  async forget(): Promise<void> {
    if (this.#file !== null) await rm(this.#file, { force: true });
  }
}
