/**
 * Tarn and its peers, measured in turn on the same files. README.md says how to run and read it.
 *
 *   node e2e/bench/bench.ts --help
 */
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { measureAlone, measureStart, profileAlone, type Alone } from "./alone.ts";
import { TOKENS_BEFORE_DECODE, type BenchEngine } from "./engine.ts";
import { exactLogits, gapTo } from "./exact.ts";
import { readFindings } from "./findings.ts";
import { cpuLimits, pytorchLimits, type Limit } from "./limits.ts";
import { openLlama } from "./llama.ts";
import { describeCommit, describeMachine } from "./machine.ts";
import { makeModel, type Format } from "./make-model.ts";
import { compareAnswers, comparisonsOf, isComplete, timeInTurn, type Plan } from "./measure.ts";
import { readOptions, usage, type Place } from "./options.ts";
import { cpuPeer, gpuPeers } from "./peers.ts";
import { markdown, table } from "./report.ts";
import { merge, readResults, type Figure, type Results, type Row } from "./results.ts";
import { MODEL_SHAPES, type ModelName } from "./shapes.ts";
import { buildEngine, engineDigest, openTarn } from "./tarn-node.ts";
import type { TarnEngine } from "./tarn.ts";
import { OutOfTime, Unfinished } from "./unfinished.ts";

const docs = fileURLToPath(new URL("../../docs", import.meta.url));
const USUAL_FORMAT: Readonly<Record<Place, Format>> = { cpu: "q8_0", chromium: "q8_0", gpu: "f16" };
/** Seconds of work after which a GPU's clock has risen, and those that raise it again after a moment's pause. */
const GPU_CLOCK = { warmUpSeconds: 1.5, wakeSeconds: 0.1 };
const NO_CLOCK = { warmUpSeconds: 0, wakeSeconds: 0 };
/** Status of a call that time ended. */
const UNFINISHED = 2;

const args = process.argv.slice(2);
if (args.includes("--help")) {
  console.log(usage);
  process.exit(0);
}
const options = readOptions(args);
const folder = options.folder ?? path.join(tmpdir(), "tarn-bench");
const context = Math.max(...options.prompts, TOKENS_BEFORE_DECODE) + options.decode + 64;
const wantsAlone =
  options.batch !== null || options.sampled || options.flat !== null || options.profile;
const commit = await describeCommit();
const machine = describeMachine();
const fresh: { readonly [K in keyof Results]: Results[K][number][] } = {
  rows: [],
  limits: [],
  figures: [],
  profiles: [],
};
const failures: string[] = [];

await mkdir(folder, { recursive: true });
if (options.report) await write();
else if (options.prepare) await prepare();
else await measureAll();

async function prepare(): Promise<void> {
  for (const place of options.places)
    for (const { model, format } of filesOf(place)) {
      console.error(`${model} ${format} …`);
      const file = await makeModel(folder, model, MODEL_SHAPES[model], format);
      await exactLogits(folder, model, format, cpuPeer(planOf(place, file)));
    }
}

async function measureAll(): Promise<void> {
  const engine = await buildEngine();
  const identity = [JSON.stringify({ ...options, seconds: null }), machine];
  const unfinished =
    options.seconds === null
      ? Unfinished.none()
      : await Unfinished.open(folder, [...identity, await engineDigest(engine)], options.seconds);
  try {
    if (options.start) await start();
    for (const place of options.places) await measureAt(place, engine, unfinished);
    await unfinished.forget();
  } catch (error) {
    if (!(error instanceof OutOfTime)) throw error;
    console.log("Not finished: the same command goes on where this one was.");
    process.exitCode = UNFINISHED;
  }
  console.log(table(fresh.rows));
  for (const { kind, measure, value, detail } of fresh.figures)
    console.log(`${kind}: ${measure}: ${value.toPrecision(3)} (${detail})`);
  for (const failure of failures) console.log(`Not measured: ${failure}`);
  const good = failures.length === 0 && fresh.rows.every(({ gate }) => gate.same);
  process.exitCode ??= good ? 0 : 1;
}

function filesOf(place: Place): { readonly model: ModelName; readonly format: Format }[] {
  const formats = options.formats ?? [USUAL_FORMAT[place]];
  return options.models.flatMap((model) => formats.map((format) => ({ model, format })));
}

function planOf(place: Place, model: string) {
  const threads = options.threads ?? (place === "gpu" ? availableParallelism() : 2);
  return { model, threads, context };
}

async function measureAt(place: Place, engine: string, unfinished: Unfinished): Promise<void> {
  if (options.alone && !wantsAlone) return;
  const pytorch =
    place === "gpu" && options.peers.includes("torch") ? ((await pytorchLimits()) ?? []) : [];
  for (const { model, format } of filesOf(place)) {
    const file = await makeModel(folder, model, MODEL_SHAPES[model], format);
    console.error(`${model} ${format}: ${place} …`);
    const about: About = { model, format, file, engine, unfinished };
    if (place === "cpu") await onCpu(about);
    else if (place === "chromium") await inChromium(about);
    else await onGpu(about, pytorch);
  }
}

interface About {
  readonly model: ModelName;
  readonly format: Format;
  readonly file: string;
  /** The bundle of Tarn's engine. */
  readonly engine: string;
  readonly unfinished: Unfinished;
}

async function onCpu(about: About): Promise<void> {
  const { file } = about;
  const peer = cpuPeer(planOf("cpu", file));
  const { size: bytes } = await stat(file);
  const open = async (): Promise<TarnEngine> =>
    await openTarn(about.engine, { path: file, bytes }, "wasm", peer.threads);
  if (!options.alone)
    await comparePeer(about, { place: "cpu", machine, peer: peer.name }, async (use) => {
      await closing(await open(), async (ours) => {
        const { weightBytes } = ours.model;
        keepLimits("cpu", machine, await cpuLimits(weightBytes, peer.threads));
        await closing(await openLlama(peer), async (theirs) => {
          await use({ ...ours, weightBytes }, theirs, theirs);
        });
      });
    });
  if (!wantsAlone) return;
  await closing(await open(), async (ours) => await alone("cpu", machine, about, ours));
}

async function inChromium(about: About): Promise<void> {
  const { file } = about;
  // Loaded where it is wanted: it brings a browser's driver and a bundler.
  const { chromiumVersion, openPages } = await import("./chromium.ts");
  const where = { place: "chromium", machine: `${machine}, ${await chromiumVersion()}` } as const;
  await comparePeer(about, { ...where, peer: "wllama" }, async (use) => {
    await closing(await openPages(file), async (pages) => {
      const { threads } = planOf("chromium", file);
      const ours = await pages.openTarn(threads);
      const theirs = await pages.openWllama(threads, context);
      // wllama gives no logits; it is llama.cpp as well.
      await closing(await openLlama(cpuPeer(planOf("cpu", file))), async (native) => {
        await use(ours, theirs, native);
      });
    });
  });
}

async function onGpu(about: About, pytorch: readonly Limit[]): Promise<void> {
  const { model, format, file } = about;
  const { size: bytes } = await stat(file);
  const plan = planOf("gpu", file);
  const opened = await openTarn(about.engine, { path: file, bytes }, "webgpu", plan.threads);
  await closing(opened, async (ours) => {
    const { device, weightBytes } = ours.model;
    const where = `${machine}, ${device.name}`;
    const copied = await ours.copyBandwidth();
    const own = copied === null ? [] : [{ what: "copy (WebGPU), GB/s", value: copied / 1e9 }];
    keepLimits("gpu", where, [...pytorch, ...own]);
    const note = (what: string): void => {
      failures.push(`${what} (${model} ${format})`);
      console.error(failures.at(-1));
    };
    const peers = options.alone ? [] : await gpuPeers(model, plan, options, note);
    for (const peer of peers) {
      // One that cannot run here must not hide what the others say.
      try {
        const place = { place: "gpu", machine: where, peer: peer.name } as const;
        await comparePeer(about, place, async (use) => {
          await closing(await openLlama(peer), async (theirs) => {
            await use({ ...ours, weightBytes }, theirs, theirs);
          });
        });
      } catch (error) {
        if (error instanceof OutOfTime) throw error;
        note(`${peer.name}: ${String(error)}`);
      }
    }
    if (wantsAlone) await alone("gpu", where, about, ours);
  });
}

async function closing<T extends { close(): Promise<void> }>(
  engine: T,
  use: (engine: T) => Promise<void>,
): Promise<void> {
  try {
    await use(engine);
  } finally {
    await engine.close();
  }
}

/** Opens two engines, hands them over, and closes them: ours, the peer, and one of its kind that gives logits. */
type Opened = (
  use: (
    ours: BenchEngine & { readonly weightBytes: number },
    theirs: BenchEngine,
    withLogits: BenchEngine,
  ) => Promise<void>,
) => Promise<void>;

/** Compares Tarn with one peer on one file; what an earlier call has measured is not measured again. */
async function comparePeer(
  { model, format, file, unfinished }: About,
  where: Pick<Row, "place" | "machine" | "peer">,
  open: Opened,
): Promise<void> {
  const record = unfinished.comparison([where.place, model, format, where.peer].join(" "));
  const plan: Plan = { ...options, ...(where.place === "gpu" ? GPU_CLOCK : NO_CLOCK) };
  if (!isComplete(record, plan)) {
    unfinished.mustFit(1);
    await open(async (ours, theirs, withLogits) => {
      record.about = {
        peer: theirs.name,
        peerDevice: theirs.device,
        tarnDevice: ours.device,
        weightBytes: ours.weightBytes,
      };
      if (record.verdict === undefined) {
        const exact = await exactLogits(folder, model, format, cpuPeer(planOf("cpu", file)));
        record.verdict = await compareAnswers(ours, theirs, await gapTo(exact, withLogits));
        await unfinished.save();
      }
      await timeInTurn(ours, theirs, plan, record, unfinished);
    });
  }
  const { about, verdict: gate } = record;
  if (about === undefined || gate === undefined) throw new Error("a comparison without engines");
  const date = new Date().toISOString();
  const said = comparisonsOf(record, plan).map((comparison): Row => ({
    ...where,
    model,
    format,
    ...about,
    ...comparison,
    gate,
    commit,
    date,
  }));
  fresh.rows.push(...said);
  console.error(table(said));
  await keep();
}

async function alone(
  place: "cpu" | "gpu",
  where: string,
  { model, format }: About,
  engine: TarnEngine,
): Promise<void> {
  const at = { place, machine: where, model, format } as const;
  for (const found of await measureAlone(engine, options))
    keepFigure({ ...at, tarnDevice: engine.device }, found);
  if (options.profile)
    for (const profile of await profileAlone(engine, options))
      fresh.profiles.push({ ...at, ...profile, ...seen() });
  await keep();
}

async function start(): Promise<void> {
  const threads = options.threads ?? 2;
  const found = await measureStart(options.runs, threads);
  const tarnDevice = `wasm, ${threads} threads`;
  const at = { place: "cpu", machine, tarnDevice, model: "default", format: "q8_0" } as const;
  keepFigure(at, found);
  await keep();
}

function keepFigure(
  at: Pick<Figure, "place" | "machine" | "tarnDevice" | "model" | "format">,
  found: Alone,
): void {
  fresh.figures.push({ ...at, ...found, ...seen() });
}

function seen(): { readonly commit: string; readonly date: string } {
  return { commit, date: new Date().toISOString() };
}

function keepLimits(place: "cpu" | "gpu", where: string, found: readonly Limit[]): void {
  const { date } = seen();
  fresh.limits.push(...found.map((limit) => ({ place, machine: where, ...limit, date })));
}

async function keep(): Promise<void> {
  if (options.write) await write();
}

/** All that is kept, and what is new, into docs. */
async function write(): Promise<void> {
  const file = path.join(docs, "benchmarks.json");
  const all = merge(readResults(await readFile(file, "utf8")), fresh);
  const known = await readFile(path.join(docs, "benchmarks-findings.json"), "utf8");
  await writeFile(file, `${JSON.stringify(all, null, 1)}\n`);
  await writeFile(path.join(docs, "benchmarks.md"), markdown(all, readFindings(known)));
}
