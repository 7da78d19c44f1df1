import { availableParallelism } from "node:os";
import { basename } from "node:path";
import type { EngineClient } from "../engine/client.ts";
import type { ModelInfo, SamplerOptions } from "../../models/engine/protocol.ts";
import { measureReadBandwidth } from "./bandwidth.ts";
import { measureFlatness, type Flatness } from "./flatness.ts";
import { drawingSampler, greedySampler } from "./samplers.ts";
import { withModel } from "./model.ts";
import { integer, integers, parse, readCommon } from "./options.ts";
import { profileDecode, profilePrefill, profileTable, type Profile } from "./profile-table.ts";
import { note, writeJson, writeResult } from "./output.ts";

export const usage = `Usage: tarn bench --model M [--prompt 512,2048] [--decode 128] [--runs 5] [--profile]
                  [--batch 16] [--sampled] [--flat 1000000]

Prefill and decode tokens/s: median, least and most of the timed runs after one untimed. Decode starts after 16 tokens
and includes choosing the next one; both are timed from outside the engine. The device's limit is what its memory gives,
measured: a decoder reads all its weights for every token. On the CPU --threads N threads compute, as many as cores where
that is not said. --profile adds a table of every kernel's time, bytes and FLOP, taken in runs of its own.
--batch N decodes N sequences in one pass over the weights: the tokens/s of all together. --sampled decodes once
more, with tokens drawn (temperature 0.8, top-p 0.95, repetition penalty 1.1) in place of the likeliest. --flat N compares decode and
memory behind N tokens with those behind 1,000.`;

/** Letters of the table's first column. */
const NAME_WIDTH = 22;

/** Tokens that a sequence holds before its decode is timed. */
const TOKENS_BEFORE_DECODE = 16;

/** Ten million: hours even of the smallest model. */
const MAX_FLAT_TOKENS = 10_000_000;

interface Rate {
  /** The median. */
  readonly tokensPerSecond: number;
  readonly min: number;
  readonly max: number;
}

interface Limit {
  /** Bytes a second that the device's memory gives, measured. */
  readonly bytesPerSecond: number;
  /** decode tokens/s × bytes of weights, as a share of that. */
  readonly decodeShare: number;
}

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parse(args, {
    prompt: { type: "string" },
    decode: { type: "string" },
    runs: { type: "string" },
    profile: { type: "boolean" },
    batch: { type: "string" },
    sampled: { type: "boolean" },
    flat: { type: "string" },
  });
  const common = readCommon(values);
  const prompts = integers("--prompt", values.prompt ?? "512,2048", 1, 1_000_000);
  const decode = integer("--decode", values.decode ?? "128", 1, 1_000_000);
  const batch = values.batch === undefined ? null : integer("--batch", values.batch, 1, 1024);
  const flat =
    values.flat === undefined ? null : integer("--flat", values.flat, 1001, MAX_FLAT_TOKENS);
  const runs = integer("--runs", values.runs ?? "5", 1, 1000);
  const threads = common.threads ?? availableParallelism();

  const report = await withModel({ ...common, threads }, async (engine, model, path) => {
    const prefill: Record<string, Rate> = {};
    for (const length of prompts) {
      note(`prefill of ${length} tokens …`);
      prefill[length] = await repeat(runs, async () => await timePrefill(engine, model, length));
    }
    const decodeWith = async (sampler: SamplerOptions): Promise<Decoded> => {
      note(`decode of ${decode} tokens …`);
      const one = await repeat(runs, async () => await timeDecode(engine, model, decode, sampler));
      if (batch === null) return { decode: { tokens: decode, ...one } };
      note(`decode of ${decode} tokens of ${batch} sequences …`);
      const many = await repeat(
        runs,
        async () => await timeBatch(engine, model, batch, decode, sampler),
      );
      return { decode: { tokens: decode, ...one }, batch: { sequences: batch, ...many } };
    };
    const decoded = await decodeWith(greedySampler);
    const sampled = values.sampled === true && (await decodeWith(drawingSampler));
    const flatness =
      flat === null
        ? null
        : await measureFlatness(engine, model, { tokens: flat, decode, runs }, someIds);
    const memory = await engine.call("memory", {});
    const longest = someIds(Math.max(...prompts), model.vocabSize);
    const before = someIds(TOKENS_BEFORE_DECODE, model.vocabSize);
    const profile = values.profile === true && {
      decode: await profileDecode(engine, model, before, decode),
      prefill: await profilePrefill(engine, model, longest),
    };
    return {
      model: model.name === "" ? basename(path) : model.name,
      path,
      prefill,
      ...decoded,
      ...(sampled !== false && { sampled: { sampler: drawingSampler, ...sampled } }),
      ...(flatness !== null && { flatness }),
      backend: model.device.backend,
      device: model.device.name,
      features: model.device.features,
      threads: model.device.backend === "wasm" ? threads : null,
      runs,
      loadMs: model.loadMs,
      peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
      workspaceBytes: memory.workspace,
      weightBytes: model.weightBytes,
      stateBytes: model.stateBytes,
      limit: await measureLimit(engine, model, decoded.decode, threads),
      ...(profile !== false && { profile }),
    };
  });
  if (common.json) writeJson(report);
  else writeResult([table(report), ...profileTables(report)].join("\n"));
}

async function repeat(runs: number, time: () => Promise<number>): Promise<Rate> {
  await time();
  const rates: number[] = [];
  for (let run = 0; run < runs; run++) rates.push(await time());
  rates.sort((a, b) => a - b);
  const middle = (rates.length - 1) / 2;
  const median = ((rates[Math.floor(middle)] ?? 0) + (rates[Math.ceil(middle)] ?? 0)) / 2;
  return { tokensPerSecond: median, min: rates.at(0) ?? 0, max: rates.at(-1) ?? 0 };
}

/** Tokens a second of one prefill; the clock stands outside the engine. */
async function timePrefill(
  engine: EngineClient,
  model: ModelInfo,
  length: number,
): Promise<number> {
  const { session } = await engine.call("create", {});
  const ids = someIds(length, model.vocabSize);
  const start = performance.now();
  await engine.call("prefill", { session, ids, chunk: null, logits: "last" });
  const seconds = (performance.now() - start) / 1000;
  await engine.call("free", { session });
  return length / seconds;
}

async function timeDecode(
  engine: EngineClient,
  model: ModelInfo,
  count: number,
  sampler: SamplerOptions,
): Promise<number> {
  const { session } = await engine.call("create", {});
  await engine.call("prefill", {
    session,
    ids: someIds(TOKENS_BEFORE_DECODE, model.vocabSize),
    chunk: null,
    logits: "last",
  });
  const start = performance.now();
  const { ids } = await engine.call("generate", {
    session,
    sampler,
    stopIds: [],
    maxTokens: count,
    keepLogits: false,
  });
  const seconds = (performance.now() - start) / 1000;
  await engine.call("free", { session });
  return ids.length / seconds;
}

/** Tokens a second of all sequences together. */
async function timeBatch(
  engine: EngineClient,
  model: ModelInfo,
  batch: number,
  count: number,
  sampler: SamplerOptions,
): Promise<number> {
  const sessions: number[] = [];
  for (let i = 0; i < batch; i++) sessions.push((await engine.call("create", {})).session);
  const prompt = someIds(TOKENS_BEFORE_DECODE, model.vocabSize);
  await engine.call("prefillMany", { sessions, ids: sessions.map(() => prompt), chunk: null });
  const start = performance.now();
  const { branches } = await engine.call("generateMany", {
    sessions,
    samplers: sessions.map((_, seed) => ({ ...sampler, seed })),
    stopIds: [],
    maxTokens: count,
    activations: null,
  });
  const seconds = (performance.now() - start) / 1000;
  for (const session of sessions) await engine.call("free", { session });
  return branches.reduce((sum, { ids }) => sum + ids.length, 0) / seconds;
}

/** Ids all over the vocabulary, the same in every run: a linear congruential generator (Numerical Recipes §7.1). */
function someIds(length: number, vocab: number): Int32Array {
  let x = 1;
  return Int32Array.from({ length }, () => {
    x = (Math.imul(x, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((x / 2 ** 32) * vocab);
  });
}

/** On the CPU what the threads read together; on a GPU what it copies, read and written bytes; null where neither is known. */
async function measureLimit(
  engine: EngineClient,
  model: ModelInfo,
  decode: Rate,
  threads: number,
): Promise<Limit | null> {
  const bytesPerSecond = await measureBandwidth(engine, model, threads);
  if (bytesPerSecond === null) return null;
  return {
    bytesPerSecond,
    decodeShare: (decode.tokensPerSecond * model.weightBytes) / bytesPerSecond,
  };
}

async function measureBandwidth(
  engine: EngineClient,
  { device, weightBytes }: ModelInfo,
  threads: number,
): Promise<number | null> {
  if (device.backend === "wasm") return await measureReadBandwidth(weightBytes, threads);
  if (device.backend === "reference") return null;
  // The engine measures it at the end of a profile, here one of nothing.
  await engine.call("profile", { on: true });
  return (await engine.call("profile", { on: false })).bytesPerSecond;
}

/** Tokens a second of one sequence, and of several together. */
interface Decoded {
  readonly decode: Rate & { readonly tokens: number };
  readonly batch?: Rate & { readonly sequences: number };
}

interface Report extends Decoded {
  readonly model: string;
  readonly prefill: Readonly<Record<string, Rate>>;
  readonly sampled?: Decoded & { readonly sampler: SamplerOptions };
  readonly flatness?: Flatness;
  readonly backend: string;
  readonly device: string;
  readonly loadMs: number;
  readonly peakMemoryBytes: number;
  readonly weightBytes: number;
  readonly stateBytes: number;
  readonly runs: number;
  readonly limit: Limit | null;
  readonly profile?: { readonly decode: Profile | null; readonly prefill: Profile | null };
}

function flatnessLines(flatness: Flatness | undefined): string[] {
  if (flatness === undefined) return [];
  const { near, far, speedRatio } = flatness;
  const grown = (bytes: "engineBytes" | "residentBytes"): string =>
    `${((far[bytes] - near[bytes]) / 2 ** 20).toFixed(2)} MiB`;
  return [
    `flatness       decode behind ${far.position} tokens at ${(100 * speedRatio).toFixed(1)}% of its speed behind ${near.position}`,
    `               states and workspace grew by ${grown("engineBytes")}, the process by ${grown("residentBytes")}`,
  ];
}

function profileTables({ profile }: Report): string[] {
  if (profile === undefined) return [];
  return Object.entries(profile).map(([phase, rows]) =>
    rows === null
      ? `${phase}: this backend has no clock for its kernels\n`
      : profileTable(phase, rows),
  );
}

function decodeRows({ decode, batch }: Decoded, how: string): [string, Rate][] {
  const one: [string, Rate] = [`${how}decode ${decode.tokens}`, decode];
  return batch === undefined ? [one] : [one, [`${how}batch of ${batch.sequences}`, batch]];
}

function table(report: Report): string {
  const rows: [string, Rate][] = [
    ...Object.entries(report.prefill).map(([length, rate]): [string, Rate] => [
      `prefill ${length}`,
      rate,
    ]),
    ...decodeRows(report, ""),
    ...(report.sampled === undefined ? [] : decodeRows(report.sampled, "sampled ")),
  ];
  const cell = (value: number): string => value.toFixed(1).padStart(10);
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const limit =
    report.limit === null
      ? "not measured"
      : `decode reads weights at ${(100 * report.limit.decodeShare).toFixed(0)}% of ${(report.limit.bytesPerSecond / 1e9).toFixed(1)} GB/s`;
  return [
    `${report.model} on ${report.backend} (${report.device})`,
    `median, least and most of ${report.runs} runs; decode after ${TOKENS_BEFORE_DECODE} tokens, the choice of the next included`,
    "",
    `${"tokens/s".padEnd(NAME_WIDTH)}${"median".padStart(10)}${"min".padStart(10)}${"max".padStart(10)}`,
    ...rows.map(
      ([name, rate]) =>
        `${name.padEnd(NAME_WIDTH)}${cell(rate.tokensPerSecond)}${cell(rate.min)}${cell(rate.max)}`,
    ),
    "",
    `load           ${(report.loadMs / 1000).toFixed(2)} s`,
    `peak memory    ${mebibytes(report.peakMemoryBytes)}`,
    `weights        ${mebibytes(report.weightBytes)}`,
    `state          ${mebibytes(report.stateBytes)}`,
    `device's limit ${limit}`,
    ...flatnessLines(report.flatness),
    "",
  ].join("\n");
}
