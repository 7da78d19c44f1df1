import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import type { BenchEngine } from "./engine.ts";
import { readFindings, type Finding } from "./findings.ts";
import { gapOf, judge, type Answer } from "./gate.ts";
import { comparisonsOf, isComplete, timeInTurn } from "./measure.ts";
import { readOptions } from "./options.ts";
import { markdown } from "./report.ts";
import {
  merge,
  readResults,
  type Figure,
  type KeptProfile,
  type Results,
  type Row,
} from "./results.ts";
import { summarise } from "./statistics.ts";
import { margin } from "./tarn.ts";
import { outcomes, type Outcome } from "./targets.ts";
import { OutOfTime, Unfinished, type KeptComparison } from "./unfinished.ts";

test("Repeated timings give the median, the least and the most", () => {
  expect(summarise([30, 10, 20])).toEqual({ median: 20, min: 10, max: 30, runs: 3 });
  expect(summarise([4, 1, 3, 2])).toEqual({ median: 2.5, min: 1, max: 4, runs: 4 });
  expect(() => summarise([])).toThrow(RangeError);
});

test("How far the largest logit is above the next", () => {
  expect(margin(Float32Array.of(1, 5, 3))).toBe(2);
  expect(margin(Float32Array.of(5, 5))).toBe(0);
});

function answer(logits: readonly number[] | null, tokens: readonly number[] = []): Answer {
  return {
    logits: logits === null ? null : Float32Array.from(logits),
    tokens,
    margins: tokens.map(() => 0.5),
  };
}

test("The peer's own paths say how far is fair", () => {
  expect(gapOf(answer([1, 2]), answer([1.25, 2]))).toBe(0.25);
  expect(() => gapOf(answer(null), answer([1]))).toThrow(RangeError);
});

test("Twice the peer's own gap is the same thing, more is not", () => {
  expect(judge(answer([1.5, 2]), answer([1, 2]), 0.25)).toMatchObject({ same: true, off: 0.5 });
  expect(judge(answer([1.5, 2]), answer([1, 2]), 0.2)).toMatchObject({ same: false });
});

test("Tokens may part only where the two largest logits are closer than that", () => {
  const ours = answer([1, 2], [7, 8, 9]);
  const theirs = { ...answer([1, 2], [7, 8, 3]), margins: [5, 5, 0.1] };
  expect(judge(ours, theirs, 0.25)).toMatchObject({ same: true, parting: 2, partingMargin: 0.1 });
  expect(judge(ours, { ...theirs, margins: [5, 5, 0.5] }, 0.25)).toMatchObject({ same: false });
});

test("Nothing that is no number opens the gate", () => {
  expect(judge(answer([NaN]), answer([1]), 1).same).toBe(false);
  expect(judge(answer([1]), answer([1]), NaN).same).toBe(false);
  expect(judge(answer([1]), answer([1, 2]), 1).same).toBe(false);
  expect(judge(answer([1], [2, 3]), { ...answer([1], [2, 4]), margins: [] }, 1).same).toBe(false);
});

test("Of a peer without logits the tokens are compared, with our margins", () => {
  const ours = { ...answer([1], [7, 8]), margins: [3, 0.1] };
  expect(judge(ours, answer(null, [7, 8]), 0.25)).toMatchObject({ same: true, off: null });
  expect(judge(ours, answer(null, [7, 9]), 0.25)).toMatchObject({ same: true, parting: 1 });
  expect(judge(ours, answer(null, [6, 8]), 0.25)).toMatchObject({ same: false, parting: 0 });
});

test("The command line", () => {
  expect(readOptions([])).toMatchObject({
    places: ["cpu"],
    models: ["mamba-130m", "mamba2-130m"],
    formats: null,
    peers: ["llama.cpp"],
    prompts: [512],
    threads: null,
    seconds: null,
    busy: 0.1,
    write: false,
  });
  expect(
    readOptions(["--gpu", "--peers", "vulkan,torch", "--prompt", "512,2048", "--formats", "f16"]),
  ).toMatchObject({
    places: ["gpu"],
    peers: ["vulkan", "torch"],
    prompts: [512, 2048],
    formats: ["f16"],
  });
  expect(() => readOptions(["--models", "gpt-5"])).toThrow(/--models has "gpt-5"; it can have/);
  expect(() => readOptions(["--cpu", "--peers", "cuda"])).toThrow(/--peers/);
  expect(() => readOptions(["--decode", "0"])).toThrow(/--decode/);
  expect(
    readOptions(["--alone", "--batch", "16", "--flat", "5000", "--cuda-architecture", "90a"]),
  ).toMatchObject({ alone: true, batch: 16, flat: 5000, start: false, cudaArchitecture: "90a" });
  expect(readOptions(["--alone", "--sampled"])).toMatchObject({ sampled: true, batch: null });
  expect(() => readOptions(["--batch", "1"])).toThrow(/--batch/);
  expect(() => readOptions(["--cuda-architecture", "sm_90"])).toThrow(/--cuda-architecture/);
  expect(() => readOptions(["--seconds", "50", "--flat", "5000"])).toThrow(/--seconds/);
  expect(() => readOptions(["--quick"])).toThrow();
});

const rate = { median: 100, min: 90, max: 110, runs: 3 };
const judgedSame = {
  peerGap: 0.1,
  allowed: 0.2,
  off: 0.1,
  parting: null,
  partingMargin: null,
  same: true,
};
const row: Row = {
  place: "cpu",
  machine: "two cores",
  model: "mamba-130m",
  format: "q8_0",
  measure: "decode 64",
  peer: "llama.cpp v0.5.0",
  peerDevice: "AVX2",
  tarnDevice: "wasm",
  ours: rate,
  theirs: rate,
  ratio: 1,
  gate: judgedSame,
  busy: 0.01,
  weightBytes: 1e8,
  commit: "abc",
  date: "2026-11-22T08:00:00.000Z",
};

const none: Results = { rows: [], limits: [], figures: [], profiles: [] };

test("New results replace those of the same measure, and stand beside others", () => {
  const old = { ...none, rows: [row, { ...row, measure: "prefill 512" }] };
  const merged = merge(old, { ...none, rows: [{ ...row, ratio: 2 }] });
  expect(merged.rows.map(({ measure, ratio }) => [measure, ratio])).toEqual([
    ["decode 64", 2],
    ["prefill 512", 1],
  ]);
  expect(readResults(JSON.stringify(merged))).toEqual(merged);
  expect(() => readResults(JSON.stringify({ ...none, rows: [{ place: "moon" }] }))).toThrow();
});

test("Every target has a line: reached, missed by how much, without a ratio, or not measured", () => {
  const shut = { ...row, model: "mamba2-130m", ratio: null, gate: { ...row.gate, same: false } };
  const slow = { ...row, measure: "prefill 512", ratio: 0.6 };
  const gpu = { ...row, place: "gpu", model: "mamba2-2.7b", format: "f16" } as const;
  const copy = {
    place: "gpu",
    machine: "two cores",
    what: "copy (WebGPU), GB/s",
    value: 20,
    date: "",
  } as const;
  const results = { ...none, rows: [row, shut, slow, gpu], limits: [copy] };
  const of = (id: string): Outcome[] => outcomes(results).filter(({ target }) => target.id === id);
  expect(of("cpu-mamba-decode")).toMatchObject([{ measured: { value: 1 }, reached: true }]);
  expect(of("cpu-mamba-prefill")).toMatchObject([{ measured: { value: 0.6 }, reached: false }]);
  expect(of("cpu-mamba2-decode")).toMatchObject([{ measured: { value: null }, reached: false }]);
  expect(of("gpu-bandwidth")).toMatchObject([{ measured: { value: 50 }, reached: false }]);
  expect(of("chromium-decode")).toMatchObject([{ measured: null, reached: false }]);
  const text = markdown(results, []);
  expect(text).toContain("not reached: 50 % of it");
  expect(text).toContain("not measured");
  expect(text).toContain("the gate is shut");
  expect(text).toContain("| none |");
  expect(text).toContain("`--cpu --models mamba-130m --formats q8_0 --decode 64`");
});

const seen = { commit: "abc", date: "2026-11-22T08:00:00.000Z" };
const file = { place: "gpu", machine: "two cores", model: "mamba2-130m", format: "f16" } as const;
const figure: Figure = {
  ...file,
  ...seen,
  kind: "batch",
  tarnDevice: "webgpu",
  measure: "16 branches of one state, decode 64",
  value: 9,
  detail: "9000 tokens/s together, 1000 one alone",
};

test("What Tarn does alone has its targets too", () => {
  const flat = { ...figure, kind: "flat memory", measure: "behind 1000424", value: 2e6 } as const;
  const sampled = { ...figure, kind: "sampled", measure: "decode 64", value: 0.9 } as const;
  const results = { ...none, figures: [figure, flat, sampled] };
  const found = outcomes(results);
  expect(found.find(({ target }) => target.id === "gpu-batch")).toMatchObject({
    measured: {
      value: 9,
      options: "--gpu --alone --models mamba2-130m --formats f16 --batch 16",
    },
    reached: true,
  });
  expect(found.find(({ target }) => target.id === "cpu-batch")?.measured).toBeNull();
  // A target that is an upper bound.
  expect(found.find(({ target }) => target.id === "flat-memory")).toMatchObject({
    measured: { value: 2 },
    reached: false,
  });
  expect(markdown(results, [])).toContain("not reached: 2.00 times as much");
  expect(markdown(results, [])).toContain("| mamba2-130m f16 | decode 64 | 0.90 × |");
});

const profile: KeptProfile = {
  ...file,
  ...seen,
  measure: "decode 64",
  tokens: 10,
  bytesPerSecond: 2e12,
  rows: [
    { kernel: "linear", calls: 20, ms: 1, bytes: 1e9, flop: 1e9 },
    { kernel: "small one", calls: 10, ms: 0.001, bytes: 0, flop: 0 },
    { kernel: "small two", calls: 10, ms: 0.001, bytes: 0, flop: 0 },
  ],
};

test("A finding is shown with its profile while its target is missed, and no longer", () => {
  const finding: Finding = {
    title: "Why batches are slow",
    targets: ["gpu-batch"],
    why: ["The logits are read back."],
    tried: ["choosing on the device"],
    profiles: [{ place: "gpu", model: "mamba2-130m", format: "f16", measure: "decode 64" }],
  };
  const missed = { ...none, figures: [{ ...figure, value: 4 }], profiles: [profile] };
  const text = markdown(missed, [finding]);
  expect(text).toContain("### Why batches are slow");
  expect(text).toContain("not reached: 50 % of it");
  expect(text).toContain("- choosing on the device");
  // 1 GB in 1 ms, of 2000 GB/s; the two that take nothing are one line.
  expect(text).toContain("| linear | 2.00 | 100 | 99.8 % | 100 | 1000 | 50 % | 100 | 1000 |  |");
  expect(text).toContain("| 2 others |");
  expect(text.match(/\| linear \|/g)).toHaveLength(1);
  expect(markdown({ ...missed, figures: [figure] }, [finding])).not.toContain("Why batches");
  expect(markdown(missed, [])).toContain("### Not explained yet");
  expect(readFindings(JSON.stringify([finding]))).toEqual([finding]);
  expect(() => readFindings(JSON.stringify([{ ...finding, targets: ["moon"] }]))).toThrow();
});

/** An engine whose runs take as long as its clock says; what was asked of it is counted. */
function slowEngine(seconds: number) {
  const asked = { prefill: 0, decode: 0 };
  const engine: BenchEngine = {
    name: "slow",
    device: "none",
    prefill: async () => (asked.prefill++, seconds),
    decode: async () => (asked.decode++, seconds),
    answer: async () => answer([1], [2]),
    close: async () => undefined,
  };
  return { engine, asked };
}

test("A command that runs out of time goes on where it was, and starts anew once it is finished", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "tarn-bench-"));
  const plan = { prompts: [8], decode: 4, runs: 2, busy: 1, warmUpSeconds: 0, wakeSeconds: 0 };
  const call = async (seconds: number, identity: string) => {
    const unfinished = await Unfinished.open(folder, [identity], seconds);
    const record = unfinished.comparison("cpu a file");
    const [ours, theirs] = [slowEngine(2), slowEngine(4)];
    const done = await timeInTurn(ours.engine, theirs.engine, plan, record, unfinished).then(
      () => true,
      (error: unknown) => (expect(error).toBeInstanceOf(OutOfTime), false),
    );
    return { done, record, unfinished, asked: ours.asked };
  };
  try {
    // A pair is said to take six seconds: the second does not fit. Nothing is waited for here.
    const first = await call(5, "one");
    expect(first.done).toBe(false);
    expect(first.record.pairs).toMatchObject({ "prefill 8": [{ ours: 2, theirs: 4 }] });
    const second = await call(1000, "one");
    expect(second.done).toBe(true);
    expect(second.asked).toEqual({ prefill: 2, decode: 3 });
    expect(comparisonsOf({ ...second.record, verdict: judgedSame }, plan)).toMatchObject([
      { measure: "prefill 8", ours: { median: 4, runs: 2 }, theirs: { median: 2 }, ratio: 2 },
      { measure: "decode 4", ratio: 2 },
    ]);
    expect((await call(0, "another engine")).record.pairs["prefill 8"]).toEqual([]);
    await second.unfinished.forget();
    expect((await call(0, "one")).record.pairs["prefill 8"]).toEqual([]);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("An engine that falls asleep works untimed before each run", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "tarn-bench-"));
  const plan = { prompts: [8], decode: 4, runs: 3, busy: 1, warmUpSeconds: 0, wakeSeconds: 1e-6 };
  try {
    const unfinished = await Unfinished.open(folder, ["one"], 1000);
    const record = unfinished.comparison("gpu a file");
    const [ours, theirs] = [slowEngine(2), slowEngine(4)];
    await timeInTurn(ours.engine, theirs.engine, plan, record, unfinished);
    // One to warm up, and two for each of three runs.
    expect(ours.asked).toEqual({ prefill: 7, decode: 7 });
    expect(theirs.asked).toEqual({ prefill: 7, decode: 7 });
    expect(record.pairs["prefill 8"]).toHaveLength(3);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("A record is complete with the engines, the gate's word and all runs", () => {
  const plan = { prompts: [8], decode: 4, runs: 1, busy: 1, warmUpSeconds: 0, wakeSeconds: 0 };
  const about = { peer: "p", peerDevice: "d", tarnDevice: "d", weightBytes: 1 };
  const pair = { ours: 1, theirs: 1, busy: null };
  const whole: KeptComparison = {
    about,
    verdict: judgedSame,
    pairs: { "prefill 8": [pair], "decode 4": [pair] },
  };
  expect(isComplete(whole, plan)).toBe(true);
  expect(isComplete({ ...whole, pairs: { "prefill 8": [pair] } }, plan)).toBe(false);
  expect(isComplete({ pairs: whole.pairs, about }, plan)).toBe(false);
  expect(comparisonsOf(whole, plan)).toMatchObject([{ busy: null }, { busy: null }]);
});
