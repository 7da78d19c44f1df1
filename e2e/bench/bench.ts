/**
 * Tarn and its peers, measured in turn on the same files. README.md says how to run and read it.
 *
 *   node e2e/bench/bench.ts --help
 */
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { cudaLibraries, hasNvcc } from "./cuda.ts";
import { promptIds, TOKENS_BEFORE_DECODE, type BenchEngine } from "./engine.ts";
import { gapOf } from "./gate.ts";
import { cpuLimits, pytorchLimits, type Limit } from "./limits.ts";
import { LIBRARIES, LLAMA_CPP, openLlama, type LlamaOptions } from "./llama.ts";
import { describeCommit, describeMachine } from "./machine.ts";
import { makeModel, type Format } from "./make-model.ts";
import { compare, COMPARED_PROMPT, type Comparison } from "./measure.ts";
import { readOptions, usage, type Place } from "./options.ts";
import { markdown, table } from "./report.ts";
import { merge, readResults, type KeptLimit, type Results, type Row } from "./results.ts";
import { MODEL_SHAPES, type ModelName } from "./shapes.ts";
import { buildEngine, openTarn } from "./tarn-node.ts";

const docs = fileURLToPath(new URL("../../docs", import.meta.url));
const USUAL_FORMAT: Readonly<Record<Place, Format>> = { cpu: "q8_0", chromium: "q8_0", gpu: "f16" };
/** Seconds of work after which a GPU's clock has risen. */
const GPU_WARM_UP = 1;

const args = process.argv.slice(2);
if (args.includes("--help")) {
  console.log(usage);
  process.exit(0);
}
const options = readOptions(args);
const folder = options.folder ?? path.join(tmpdir(), "tarn-bench");
const context = Math.max(...options.prompts, TOKENS_BEFORE_DECODE) + options.decode + 64;
const commit = await describeCommit();
const rows: Row[] = [];
const limits: KeptLimit[] = [];
const failures: string[] = [];

await mkdir(folder, { recursive: true });
const engine = await buildEngine();
for (const place of options.places) await measureAt(place);
console.log(table(rows));
for (const failure of failures) console.log(`Not measured: ${failure}`);
process.exitCode = failures.length === 0 && rows.every(({ gate }) => gate.same) ? 0 : 1;

async function measureAt(place: Place): Promise<void> {
  const machine = describeMachine();
  const pytorch =
    place === "gpu" && options.peers.includes("torch") ? ((await pytorchLimits()) ?? []) : [];
  for (const model of options.models) {
    for (const format of options.formats ?? [USUAL_FORMAT[place]]) {
      const file = await makeModel(folder, model, MODEL_SHAPES[model], format);
      console.error(`${model} ${format}: ${place} …`);
      if (place === "cpu") await onCpu(machine, model, format, file);
      else if (place === "chromium") await inChromium(machine, model, format, file);
      else await onGpu(machine, model, format, file, pytorch);
      if (options.write) await keep({ rows, limits });
    }
  }
}

async function onCpu(machine: string, model: ModelName, format: Format, file: string) {
  const { size: bytes } = await stat(file);
  const peer = cpuPeer(file);
  const gap = await peerGap(model, format, peer);
  const ours = await openTarn(engine, { path: file, bytes }, "wasm", options.threads);
  keepLimits("cpu", machine, await cpuLimits(ours.model.weightBytes, options.threads));
  const theirs = await openLlama(peer);
  const about = { place: "cpu", machine, model, format } as const;
  await measure({ ...about, weightBytes: ours.model.weightBytes }, ours, theirs, gap);
  await theirs.close();
  await ours.close();
}

async function inChromium(machine: string, model: ModelName, format: Format, file: string) {
  const gap = await peerGap(model, format, cpuPeer(file));
  // Loaded where it is wanted: it brings a browser's driver and a bundler.
  const { openPages } = await import("./chromium.ts");
  const pages = await openPages(file);
  try {
    const ours = await pages.openTarn(options.threads);
    const theirs = await pages.openWllama(options.threads, context);
    const where = `${machine}, ${pages.version}`;
    const about = { place: "chromium", machine: where, model, format } as const;
    await measure({ ...about, weightBytes: ours.weightBytes }, ours, theirs, gap);
  } finally {
    await pages.close();
  }
}

async function onGpu(
  machine: string,
  model: ModelName,
  format: Format,
  file: string,
  pytorch: readonly Limit[],
) {
  const { size: bytes } = await stat(file);
  const ours = await openTarn(engine, { path: file, bytes }, "webgpu", options.threads);
  const { device, weightBytes } = ours.model;
  const where = `${machine}, ${device.name}`;
  const copied = await ours.copyBandwidth();
  const own = copied === null ? [] : [{ what: "copy (WebGPU), GB/s", value: copied / 1e9 }];
  keepLimits("gpu", where, [...pytorch, ...own]);
  for (const peer of await gpuPeers(file)) {
    // One that cannot run here must not hide what the others say.
    try {
      const gap = await peerGap(model, format, peer);
      const theirs = await openLlama(peer);
      const about = { place: "gpu", machine: where, model, format, weightBytes } as const;
      await measure(about, ours, theirs, gap);
      await theirs.close();
    } catch (error) {
      failures.push(`${peer.name}, ${model} ${format}: ${String(error)}`);
      console.error(failures.at(-1));
    }
  }
  await ours.close();
}

function cpuPeer(model: string): LlamaOptions {
  const { threads } = options;
  return { name: LLAMA_CPP, model, libraries: LIBRARIES.cpu, gpu: null, threads, context };
}

async function gpuPeers(model: string): Promise<LlamaOptions[]> {
  const { threads, peers } = options;
  const found: LlamaOptions[] = [];
  const add = (gpu: string, libraries: string): void =>
    void found.push({ name: `${LLAMA_CPP} ${gpu}`, model, libraries, gpu, threads, context });
  if (peers.includes("vulkan")) add("Vulkan", LIBRARIES.vulkan);
  if (!peers.includes("cuda")) return found;
  if (options.cudaLibraries !== null) add("CUDA", options.cudaLibraries);
  else if (await hasNvcc()) add("CUDA", await cudaLibraries());
  else console.error("llama.cpp's CUDA build is left out: there is no nvcc.");
  return found;
}

/** Measured once for each file and peer, and kept beside the models: the largest difference between the peer's own paths. */
async function peerGap(model: ModelName, format: Format, peer: LlamaOptions): Promise<number> {
  const file = path.join(folder, "gaps.json");
  const known = JSON.parse(await readFile(file, "utf8").catch(() => "{}")) as Record<
    string,
    number
  >;
  const key = `${path.basename(peer.model)} ${peer.name}`;
  const kept = known[key];
  if (kept !== undefined) return kept;
  const decoded = await makeModel(folder, model, MODEL_SHAPES[model], format, true);
  const prompt = promptIds(COMPARED_PROMPT);
  const answers = [];
  // On the CPU, which computes f32 as f32: GPUs' backends round such weights to f16 as well, or use TF32.
  for (const how of [peer, { ...cpuPeer(decoded), exact: true }]) {
    const peerEngine = await openLlama(how);
    answers.push(await peerEngine.answer(prompt, 1));
    await peerEngine.close();
  }
  const [timed, exact] = answers;
  if (timed === undefined || exact === undefined) throw new Error("two answers are compared");
  const gap = gapOf(exact, timed);
  await writeFile(file, JSON.stringify({ ...known, [key]: gap }));
  return gap;
}

type About = Pick<Row, "place" | "machine" | "model" | "format" | "weightBytes">;

async function measure(about: About, ours: BenchEngine, theirs: BenchEngine, gap: number) {
  const { verdict, comparisons } = await compare(ours, theirs, gap, {
    ...options,
    warmUpSeconds: about.place === "gpu" ? GPU_WARM_UP : 0,
  });
  const finite = (value: number | null): number | null =>
    value !== null && Number.isFinite(value) ? value : null;
  const gate = {
    ...verdict,
    peerGap: finite(verdict.peerGap),
    allowed: finite(verdict.allowed),
    off: finite(verdict.off),
    partingMargin: finite(verdict.partingMargin),
  };
  const seen = { commit, date: new Date().toISOString(), gate };
  const named = { peer: theirs.name, peerDevice: theirs.device, tarnDevice: ours.device };
  rows.push(
    ...comparisons.map((comparison: Comparison): Row => ({
      ...about,
      ...named,
      ...comparison,
      ...seen,
    })),
  );
  console.error(table(rows.slice(-comparisons.length)));
}

function keepLimits(place: "cpu" | "gpu", machine: string, found: readonly Limit[]): void {
  const date = new Date().toISOString();
  limits.push(...found.map((limit) => ({ place, machine, ...limit, date })));
}

async function keep(fresh: Results): Promise<void> {
  const file = path.join(docs, "benchmarks.json");
  const old = await readFile(file, "utf8").then(readResults, () => ({ rows: [], limits: [] }));
  const all = merge(old, fresh);
  await writeFile(file, `${JSON.stringify(all, null, 1)}\n`);
  await writeFile(path.join(docs, "benchmarks.md"), markdown(all));
}
