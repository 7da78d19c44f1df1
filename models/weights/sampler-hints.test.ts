import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { openConversion } from "../convert/convert.ts";
import { ggufBytes } from "../convert/gguf-writer.ts";
import { parseConfig } from "./config.ts";
import { memoryFile } from "./memory-file.ts";
import { openModel } from "./open-model.ts";
import { hintsOfConfig, hintsOfGguf, type ReadHints } from "./sampler-hints.ts";

const fixtures = new URL("../../e2e/fixtures/models/", import.meta.url);
const utf8 = new TextEncoder();

function ofConfig(json: string): ReadHints {
  return hintsOfConfig(parseConfig(utf8.encode(json), "generation_config.json"));
}

describe("hints for sampling", () => {
  it("are read from generation_config.json", () => {
    const qwen = '{"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95}';
    expect(ofConfig(qwen)).toEqual({
      hints: { temperature: 0.6, topK: 20, topP: 0.95 },
      notices: [],
    });
    expect(ofConfig('{"min_p": 0.15, "repetition_penalty": 1.05, "top_k": null}').hints).toEqual({
      minP: 0.15,
      repetitionPenalty: 1.05,
    });
    expect(ofConfig('{"eos_token_id": 2}')).toEqual({ hints: {}, notices: [] });
    expect(hintsOfConfig(null)).toEqual({ hints: {}, notices: [] });
  });

  it("heed do_sample as transformers does", () => {
    const greedy =
      '{"do_sample": false, "temperature": 0.9, "top_p": 0.5, "repetition_penalty": 1.2}';
    expect(ofConfig(greedy).hints).toEqual({ temperature: 0, repetitionPenalty: 1.2 });
    expect(ofConfig('{"do_sample": true}').hints).toEqual({ temperature: 1 });
  });

  it.each([
    ['{"temperature": -1}', "temperature of generation_config.json, is -1"],
    ['{"temperature": {"__float__": "Infinity"}}', "is Infinity"],
    ['{"temperature": NaN}', "is NaN"],
    ['{"top_p": 1.5}', "a number from 0 to 1"],
    ['{"top_k": 2.5}', "a whole number from 0 to 100000"],
    ['{"min_p": "0.1"}', 'is "0.1"'],
    ['{"repetition_penalty": 0}', "a number from 0.5 to 3"],
    ['{"top_k": [1]}', "is a list or an object"],
  ])("are not followed where they make no sense, with a notice: %s", (json, words) => {
    const { hints, notices } = ofConfig(json);
    expect(hints).toEqual({});
    expect(notices).toEqual([expect.stringContaining(words)]);
  });

  it("are read from GGUF's metadata", () => {
    const metadata = new Map<string, number | string>([
      ["general.sampling.temp", Math.fround(0.6)],
      ["general.sampling.top_k", -1],
      ["general.sampling.top_p", Math.fround(0.95)],
      ["general.sampling.min_p", 2],
      ["general.sampling.penalty_last_n", 128],
      ["general.sampling.penalty_repeat", Math.fround(1.1)],
      ["general.sampling.sequence", "edskypmxt"],
    ]);
    const { hints, notices } = hintsOfGguf(metadata);
    expect(hints).toEqual({
      temperature: 0.6,
      topK: 0,
      topP: 0.95,
      repetitionPenalty: 1.1,
      repetitionWindow: 128,
    });
    expect(notices).toEqual([expect.stringContaining("general.sampling.min_p, is 2")]);
  });

  it("go through a conversion to GGUF unchanged", async () => {
    const read = (name: string): Uint8Array =>
      new Uint8Array(readFileSync(new URL(`mamba2/${name}`, fixtures)));
    const hints = { temperature: 0.7, topK: 40, topP: 0.9, minP: 0.05, repetitionPenalty: 1.1 };
    const generation =
      '{"temperature": 0.7, "top_k": 40, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.1}';
    const files = [
      memoryFile("config.json", read("config.json")),
      memoryFile("model.safetensors", read("model.safetensors")),
      memoryFile("generation_config.json", utf8.encode(generation)),
    ];
    const { entries, tensors } = await openConversion(files, "m", "F32");
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    for await (const piece of ggufBytes(entries, tensors)) pieces.push(piece.slice());
    const bytes = new Uint8Array(await new Blob(pieces).arrayBuffer());
    const opened = await openModel([memoryFile("m.gguf", bytes)]);
    expect(opened).toMatchObject({ samplerHints: hints, notices: [] });
  });
});
