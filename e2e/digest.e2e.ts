/** Reading a document with the real engine, through power cuts: the states at the end are the same to the bit. */
import path from "node:path";
import BetterSqlite3 from "better-sqlite3";
import { expect, test } from "vitest";
import { dataFolder, startServer } from "./app.ts";
import { type Client, connect } from "./contract-client.ts";

/** Some 6,000 tokens. */
const text = Array.from(
  { length: 320 },
  (_, day) =>
    `On day ${day} the keeper of the hut wrote ${(day * 37) % 101} letters and counted ${(day * 53) % 97} guests.${day % 7 === 6 ? "\n\n" : " "}`,
).join("");

interface Running {
  readonly client: Client;
  powerCut(): Promise<void>;
}

async function start(folder: string): Promise<Running> {
  const server = await startServer(folder);
  const client = await connect(server.address);
  return {
    client,
    async powerCut() {
      client.close();
      await server.kill();
    },
  };
}

async function begin({ client }: Running): Promise<string> {
  const { id } = await client.call("documents.import", {
    name: "hut.txt",
    mediaType: "text/plain",
    bytes: new TextEncoder().encode(text),
  });
  await client.call("documents.read", { documentId: id });
  return id;
}

async function finish({ client }: Running): Promise<void> {
  for (;;) {
    const [document] = await client.call("documents.list", {});
    if (document?.reading?.status === "read") return;
    expect(document?.reading?.status).not.toBe("failed");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function states(folder: string): unknown[] {
  const db = new BetterSqlite3(path.join(folder, "tarn.sqlite"));
  const rows = db
    .prepare(
      `SELECT series, position, prefix_hash, zstd FROM snapshots JOIN snapshot_heads ON snapshot_id = id
       WHERE owner_kind = 'document' ORDER BY series, position`,
    )
    .all();
  db.close();
  return rows;
}

test("a reading that was cut off again and again ends in the states of one that was not", async () => {
  const [alone, cut] = [await dataFolder(), await dataFolder()];
  try {
    const whole = await start(alone.path);
    await begin(whole);
    await finish(whole);
    await whole.powerCut();

    let seed = 7;
    const random = (): number => (seed = (seed * 48_271) % 2_147_483_647);
    for (let kill = 0; kill < 6; kill++) {
      const running = await start(cut.path);
      const after = random() % 8;
      let heard = 0;
      const enough = new Promise<void>((resolve) => {
        running.client.on("document.progress", () => heard++ >= after && resolve());
        running.client.on(
          "documents.changed",
          () => void finished(running).then((is) => is && resolve()),
        );
      });
      await begin(running);
      // Nothing more is told of one that is read already.
      if (!(await finished(running))) await enough;
      await running.powerCut();
    }
    const last = await start(cut.path);
    await begin(last);
    await finish(last);
    await last.powerCut();
    const expected = states(alone.path);
    expect(expected.length).toBeGreaterThan(6);
    expect(states(cut.path)).toEqual(expected);
  } finally {
    await alone.release();
    await cut.release();
  }
});

async function finished({ client }: Running): Promise<boolean> {
  const [document] = await client.call("documents.list", {});
  return document?.reading?.status === "read";
}
