/**
 * Plays random histories with kill -9 in between, and compares what goes on afterwards, bit for bit, with a run that was never
 * interrupted: `npm run soak -- [--histories 20] [--seed 1] [--models mamba2,bamba] [--together 8]`. Prints a line a history, and a summary.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { build } from "vite";
import { fileURLToPath } from "node:url";
import { History, randomOf, type Outcome } from "./history.ts";
import { chatModel } from "./model.ts";
import { startProgram, type Program } from "./process.ts";
import { World } from "./world.ts";

/** Builds the programs into out/soak. */
export async function buildSoak(): Promise<void> {
  const configFile = fileURLToPath(new URL("./vite.config.ts", import.meta.url));
  await build({ configFile, logLevel: "warn" });
}

/** What to play. */
export interface SoakOptions {
  readonly histories: number;
  /** Of the first; each next one has the next. */
  readonly seed: number;
  /** Fixtures, in turn. */
  readonly models: readonly string[];
  /** Histories that share a program, and its kills. */
  readonly together: number;
}

/** @param onOutcome is told each as it comes */
export async function soak(
  { histories, seed, models, together }: SoakOptions,
  onOutcome: (model: string, outcome: Outcome, kills: number) => void,
): Promise<void> {
  const folder = mkdtempSync(path.join(tmpdir(), "tarn-soak-models-"));
  const prepared = new Map<string, { readonly resources: string; readonly replay: Program }>();
  const prepare = async (fixture: string) => {
    const resources = path.join(folder, fixture);
    const model = chatModel(fixture, path.join(resources, "models"));
    const files = ["config.json", "model.safetensors"].map((name) => ({
      name,
      open: path.join(model, name),
      bytes: 0,
    }));
    return { resources, replay: await startProgram("soak-replay", [JSON.stringify(files)]) };
  };
  try {
    for (let done = 0, turn = 0; done < histories; done += together, turn++) {
      const fixture = models[turn % models.length] ?? "";
      const { resources, replay } = prepared.get(fixture) ?? (await prepare(fixture));
      prepared.set(fixture, { resources, replay });
      const seeds = Array.from(
        { length: Math.min(together, histories - done) },
        (_, index) => seed + done + index,
      );
      await playWorld(seeds, resources, replay, (outcome, kills) =>
        onOutcome(fixture, outcome, kills),
      );
    }
  } finally {
    for (const { replay } of prepared.values()) await replay.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Plays these histories in one world. What breaks the world is each one's failure. */
async function playWorld(
  seeds: readonly number[],
  resources: string,
  replay: Program,
  onOutcome: (outcome: Outcome, kills: number) => void,
): Promise<void> {
  const world = new World(resources);
  const histories = seeds.map((seed) => new History(seed, world));
  const random = randomOf(~(seeds[0] ?? 0));
  const open = new Set(seeds);
  try {
    await world.start();
    const rounds = 3 + Math.floor(random() * 5);
    for (let round = 0; round < rounds; round++) {
      for (const history of histories) await history.act();
      if (round < rounds - 1 && random() < 0.65) {
        for (const history of histories) await history.settle();
        continue;
      }
      // Some are being read or written, some wait, some are done.
      await new Promise((resolve) => setTimeout(resolve, random() ** 2 * 100 * seeds.length));
      await world.killAndStart();
      for (const history of histories) history.check();
    }
    for (const history of histories) {
      const outcome = await history.judge(replay);
      open.delete(history.seed);
      onOutcome(outcome, world.kills);
    }
  } catch (cause) {
    const failure = cause instanceof Error ? cause.message : String(cause);
    for (const seed of open)
      onOutcome({ seed, failure, position: 0, readAgain: 0, compared: 0 }, world.kills);
  } finally {
    await world.end();
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      histories: { type: "string", default: "20" },
      seed: { type: "string", default: "1" },
      models: { type: "string", default: "mamba2,bamba" },
      together: { type: "string", default: "8" },
      built: { type: "boolean", default: false },
    },
  });
  if (!values.built) await buildSoak();
  const outcomes: Outcome[] = [];
  await soak(
    {
      histories: Number(values.histories),
      seed: Number(values.seed),
      models: values.models.split(","),
      together: Number(values.together),
    },
    (model, outcome, kills) => {
      outcomes.push(outcome);
      const { seed, failure, position, readAgain, compared } = outcome;
      console.log(
        `${model} ${seed}: ${failure ?? "right"}, ${kills} kills, ${position} tokens before, ${readAgain} read again, ${compared} states of a document compared`,
      );
    },
  );
  const failed = outcomes.filter(({ failure }) => failure !== null);
  const stored = outcomes.filter(({ readAgain }) => readAgain <= 0).length;
  const compared = outcomes.reduce((sum, outcome) => sum + outcome.compared, 0);
  console.log(
    `${outcomes.length - failed.length} of ${outcomes.length} right, ${stored} went on from a stored state, ${compared} states of documents compared` +
      (failed.length === 0 ? "" : `; failed: ${failed.map(({ seed }) => seed).join(", ")}`),
  );
  process.exitCode = failed.length === 0 ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
