import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { expectAllClose, largest } from "../../kernels/testing/all-close.ts";
import { loadGolden, readGolden, type Golden } from "../../kernels/testing/golden.ts";
import { LOGITS } from "../../kernels/testing/tolerances.ts";
import { at, model, succeed, tarn, useCommandLine } from "./command-line.testing.ts";

useCommandLine();

describe.each(["mamba", "mamba2"])("%s", (name) => {
  const golden = loadGolden(`models/${name}/golden.safetensors`);

  test.each([
    ["reference", ["1", "7", "64", "1000"]],
    ["wasm", ["1", "7", "64", "1000"]],
    // SwiftShader compiles each pipeline for seconds: the two sizes that differ most.
    ["webgpu", ["7", "1000"]],
  ])("logits on %s are transformers', whatever the chunks", async (backend, chunks) => {
    const ids = at(`${name}.json`);
    writeFileSync(
      ids,
      JSON.stringify(["p0", "p1"].map((prompt) => [...golden.i32(`${prompt}.input_ids`)])),
    );
    for (const chunk of chunks) {
      const out = at(`${name}.${backend}.${chunk}.safetensors`);
      const stdout = await succeed(
        "logits",
        "--model",
        model(name),
        "--ids",
        ids,
        "--out",
        out,
        "--greedy",
        "16",
        "--chunk",
        chunk,
        "--backend",
        backend,
        "--json",
      );
      expect(JSON.parse(stdout)).toMatchObject({ prompts: 2, backend });
      const written = readGolden(new Uint8Array(readFileSync(out)), out);
      for (const k of [0, 1]) expectPrompt(written, golden, k);
    }
  });

  test("a state goes on where it was saved, and one changed byte is refused", async () => {
    const ids = at(`${name}.one.json`);
    const file = at(`${name}.state`);
    writeFileSync(ids, JSON.stringify([[...golden.i32("p1.input_ids")]]));
    await succeed(
      "state",
      "--model",
      model(name),
      "--ids",
      ids,
      "--save",
      file,
      "--backend",
      "wasm",
    );
    const continued = await succeed(
      "state",
      "--model",
      model(name),
      "--load",
      file,
      "--greedy",
      "16",
      "--backend",
      "wasm",
    );
    expect(JSON.parse(continued)).toEqual({ greedy: [...golden.i32("p1.greedy")], prefilled: 0 });

    const bytes = readFileSync(file);
    bytes[bytes.length - 100] = (bytes[bytes.length - 100] ?? 0) ^ 4;
    writeFileSync(at("changed.state"), bytes);
    const refused = await tarn(
      "state",
      "--model",
      model(name),
      "--load",
      at("changed.state"),
      "--greedy",
      "16",
      "--backend",
      "wasm",
    );
    expect(refused).toMatchObject({
      status: 1,
      stdout: "",
      stderr: expect.stringMatching(/^tarn: .*seal.*\n$/),
    });
  });
});

function expectPrompt(written: Golden, golden: Golden, k: number): void {
  const { shape, values } = written.f32(`logits.${k}`);
  expect(shape).toEqual(golden.f32(`p${k}.logits`).shape);
  expectAllClose(values, golden.f32(`p${k}.logits`).values, LOGITS, `logits.${k}`);
  expect([...written.i32(`greedy.${k}`)]).toEqual([...golden.i32(`p${k}.greedy`)]);
  expectAllClose(
    written.f32(`decode_logits.${k}`).values,
    golden.f32(`p${k}.decode_logits`).values,
    LOGITS,
    `decode_logits.${k}`,
  );
}

test("--quantise q8_0 rounds on load, near the library's logits, and makes states of a model of its own", async () => {
  const golden = loadGolden("models/mamba2/golden.safetensors");
  const ids = at("quantised.json");
  const out = at("quantised.safetensors");
  const state = at("quantised.state");
  const common = ["--model", model("mamba2"), "--backend", "wasm"];
  writeFileSync(ids, JSON.stringify([[...golden.i32("p0.input_ids")]]));
  await succeed("logits", ...common, "--ids", ids, "--out", out, "--quantise", "q8_0");
  const rounded = readGolden(new Uint8Array(readFileSync(out)), out).f32("logits.0").values;
  const exact = golden.f32("p0.logits").values;
  // 8 bits in blocks of 32 move a weight by at most 1/254 of its block's largest: seen, and small beside logits of std 2.
  const farthest = largest(exact.map((value, i) => Math.abs(value - (rounded[i] ?? Number.NaN))));
  expect(farthest).toBeGreaterThan(LOGITS.absolute);
  expect(farthest).toBeLessThan(0.2);

  await succeed("state", ...common, "--ids", ids, "--save", state, "--quantise", "q8_0");
  const refused = await tarn("state", ...common, "--load", state, "--greedy", "4");
  expect(refused.status).toBe(1);
  expect(refused.stdout).toBe("");
});

test("a state file is encrypted on request, and opens to its passphrase alone", async () => {
  const file = at("secret.state");
  const common = ["--model", model("mamba"), "--backend", "wasm"];
  const golden = loadGolden("models/mamba/golden.safetensors");
  writeFileSync(at("secret.json"), JSON.stringify([[...golden.i32("p1.input_ids")]]));
  writeFileSync(at("right.txt"), "still water\n");
  writeFileSync(at("wrong.txt"), "still waters\n");
  const locked = ["--passphrase-file", at("right.txt")];
  await succeed("state", ...common, "--ids", at("secret.json"), "--save", file, ...locked);
  expect(readFileSync(file).includes("TARNSTAT")).toBe(false);
  const load = ["state", ...common, "--load", file, "--greedy", "16"];
  expect(JSON.parse(await succeed(...load, ...locked))).toEqual({
    greedy: [...golden.i32("p1.greedy")],
    prefilled: 0,
  });
  for (const given of [[], ["--passphrase-file", at("wrong.txt")]]) {
    const refused = await tarn(...load, ...given);
    expect(refused).toMatchObject({ status: 1, stdout: "" });
    expect(refused.stderr).toMatch(/passphrase/);
  }
});

test("a state of another model is refused", async () => {
  writeFileSync(at("few.json"), "[[1, 2, 3]]");
  await succeed(
    "state",
    "--model",
    model("mamba"),
    "--ids",
    at("few.json"),
    "--save",
    at("mamba-few.state"),
    "--backend",
    "wasm",
  );
  const foreign = await tarn(
    "state",
    "--model",
    model("mamba2"),
    "--load",
    at("mamba-few.state"),
    "--greedy",
    "1",
    "--backend",
    "wasm",
    "--json",
  );
  expect(foreign).toMatchObject({ status: 1, stdout: "" });
  expect(JSON.parse(foreign.stderr.trim().split("\n").at(-1) ?? "")).toMatchObject({
    error: { code: "state", data: { kind: "foreign" } },
  });
});

describe("bad input gets one clear sentence and changes nothing", () => {
  function brokenModel(
    name: string,
    change: { readonly config?: string; readonly weights?: Uint8Array },
  ): string {
    mkdirSync(at(name), { recursive: true });
    copyFileSync(path.join(model("mamba"), "config.json"), path.join(at(name), "config.json"));
    if (change.config !== undefined)
      writeFileSync(path.join(at(name), "config.json"), change.config);
    writeFileSync(
      path.join(at(name), "model.safetensors"),
      change.weights ?? readFileSync(path.join(model("mamba"), "model.safetensors")),
    );
    return at(name);
  }
  const weights = readFileSync(path.join(model("mamba"), "model.safetensors"));
  const hugeHeader = Buffer.concat([Buffer.from([0, 0, 0, 0, 0, 0, 0, 0x7f]), weights.subarray(8)]);

  const cases: readonly (readonly [what: string, model: () => string, sentence: RegExp])[] = [
    [
      "a truncated header",
      () => brokenModel("truncated", { weights: weights.subarray(0, 1000) }),
      /model\.safetensors: the header/,
    ],
    [
      "an oversized header",
      () => brokenModel("oversized", { weights: hugeHeader }),
      /model\.safetensors: the header/,
    ],
    [
      "weights that are cut off",
      () => brokenModel("cut", { weights: weights.subarray(0, -1000) }),
      /model\.safetensors/,
    ],
    [
      "an unknown model_type",
      () => brokenModel("unknown", { config: '{"model_type": "gpt9"}' }),
      /does not know the architecture "gpt9"/,
    ],
    [
      "a tensor of the wrong shape",
      () =>
        brokenModel("shape", {
          config: readFileSync(path.join(model("mamba"), "config.json"), "utf8").replace(
            '"state_size": 16',
            '"state_size": 8',
          ),
        }),
      /expected \(/,
    ],
    ["a missing folder", () => at("nowhere"), /no model at .*nowhere/],
  ];

  test.each(cases)("%s", async (_what, prepare, sentence) => {
    writeFileSync(at("few.json"), "[[1, 2, 3]]");
    const out = at("never.safetensors");
    const { status, stdout, stderr } = await tarn(
      "logits",
      "--model",
      prepare(),
      "--ids",
      at("few.json"),
      "--out",
      out,
      "--backend",
      "wasm",
    );
    expect(stderr).toMatch(sentence);
    expect(stderr).toMatch(/^tarn: [^\n]+\n$/);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(readdirSync(at("")).filter((name) => name.startsWith("never"))).toEqual([]);
  });

  test.each([
    ["an id that the model does not have", "[[1, 112]]", /Token 112 at place 1/],
    ["a file that is not JSON", "1, 2", /not JSON/],
    ["a prompt without tokens", "[[]]", /empty/],
  ])("%s", async (_what, ids, sentence) => {
    writeFileSync(at("bad.json"), ids);
    const { status, stderr } = await tarn(
      "logits",
      "--model",
      model("mamba"),
      "--ids",
      at("bad.json"),
      "--out",
      at("never.safetensors"),
      "--backend",
      "wasm",
    );
    expect(stderr).toMatch(sentence);
    expect(status).toBe(1);
    expect(readdirSync(at("")).filter((name) => name.startsWith("never"))).toEqual([]);
  });

  test("a wrong command line", async () => {
    expect(await tarn("logits", "--backend", "cuda", "--json")).toMatchObject({
      status: 2,
      stdout: "",
      stderr: expect.stringContaining('"cuda"'),
    });
    expect(await tarn("frobnicate")).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("frobnicate"),
    });
  });

  test("a model without a tokenizer has no text", async () => {
    writeFileSync(at("text.txt"), "a");
    expect(
      await tarn("tokenize", "--model", model("mamba"), "--text", at("text.txt")),
    ).toMatchObject({ status: 1, stderr: expect.stringContaining("tokenizer") });
  });
});

test("tokenize and detokenize are exact, with the model that ships", async () => {
  const text = "Größe: 12 µm\r\n\tdone <|end|> \u{1f980}";
  writeFileSync(at("text.txt"), text);
  const ids = await succeed("tokenize", "--text", at("text.txt"));
  writeFileSync(at("ids.json"), ids);
  expect(await succeed("detokenize", "--ids", at("ids.json"))).toBe(text);
});

test("bench and inspect give one JSON value", async () => {
  const bench: unknown = JSON.parse(
    await succeed(
      "bench",
      "--model",
      model("mamba2"),
      "--prompt",
      "32",
      "--decode",
      "8",
      "--runs",
      "1",
      "--backend",
      "wasm",
      "--json",
    ),
  );
  const rate = {
    tokensPerSecond: expect.any(Number),
    min: expect.any(Number),
    max: expect.any(Number),
  };
  expect(bench).toMatchObject({ backend: "wasm", prefill: { 32: rate }, decode: rate });
  const inspection: unknown = JSON.parse(await succeed("inspect", model("mamba2"), "--json"));
  expect(inspection).toMatchObject({ modelType: "mamba2", runs: { nLayer: 3 } });
});

test("ask answers from a document and cites the place", async () => {
  const text =
    "The harbour opens at six.\n\nThe code word of the harbour is blue pelican. The mayor is Anna Berg.\n";
  writeFileSync(at("harbour.txt"), text);
  const result = JSON.parse(
    await succeed(
      "ask",
      "--doc",
      at("harbour.txt"),
      "What is the code word of the harbour?",
      "--backend",
      "wasm",
      "--json",
    ),
  ) as {
    answer: string;
    citations: { file: string; page: number | null; start: number; end: number; text: string }[];
  };
  expect(result.answer).toContain("blue pelican");
  const [citation] = result.citations;
  expect(citation).toMatchObject({ file: "harbour.txt", page: null });
  expect(text.slice(citation?.start, citation?.end)).toBe(citation?.text);
});
