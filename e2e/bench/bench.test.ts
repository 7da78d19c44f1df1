import { expect, test } from "vitest";
import { gapOf, judge, type Answer } from "./gate.ts";
import { readOptions } from "./options.ts";
import { markdown } from "./report.ts";
import { merge, readResults, type Row } from "./results.ts";
import { summarise } from "./statistics.ts";
import { margin } from "./tarn.ts";
import { outcomes } from "./targets.ts";

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
    threads: 2,
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
  expect(() => readOptions(["--quick"])).toThrow();
});

const rate = { median: 100, min: 90, max: 110, runs: 3 };
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
  gate: { peerGap: 0.1, allowed: 0.2, off: 0.1, parting: null, partingMargin: null, same: true },
  busy: 0.01,
  weightBytes: 1e8,
  commit: "abc",
  date: "2026-11-22T08:00:00.000Z",
};

test("New results replace those of the same measure, and stand beside others", () => {
  const old = { rows: [row, { ...row, measure: "prefill 512" }], limits: [] };
  const merged = merge(old, { rows: [{ ...row, ratio: 2 }], limits: [] });
  expect(merged.rows.map(({ measure, ratio }) => [measure, ratio])).toEqual([
    ["decode 64", 2],
    ["prefill 512", 1],
  ]);
  expect(readResults(JSON.stringify(merged))).toEqual(merged);
  expect(() => readResults('{"rows":[{"place":"moon"}],"limits":[]}')).toThrow();
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
  const results = { rows: [row, shut, slow, gpu], limits: [copy] };
  const found = outcomes(results);
  expect(found.find((outcome) => outcome.row === row)).toMatchObject({ value: 1, reached: true });
  expect(found.find((outcome) => outcome.row === shut)).toMatchObject({ value: null });
  expect(found.find((outcome) => outcome.row === gpu)).toMatchObject({ value: 50, reached: false });
  const text = markdown(results);
  expect(text).toContain("not reached: 50 % of it");
  expect(text).toContain("not measured");
  expect(text).toContain("the gate is shut");
  expect(text).toContain("| none |");
});
