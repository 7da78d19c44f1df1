import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  copyFileSync,
  mkdirSync,
} from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectAllClose, largest } from "../../kernels/testing/all-close.ts";
import { loadGolden, readGolden, type Golden } from "../../kernels/testing/golden.ts";
import { LOGITS } from "../../kernels/testing/tolerances.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const cli = path.join(root, "out/node/cli.js");
const model = (name: string): string => path.join(root, "e2e/fixtures/models", name);

interface Ended {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

let folder = "";
const at = (name: string): string => path.join(folder, name);

/** The built command line. */
async function tarn(...args: string[]): Promise<Ended> {
  return await start(cli, args);
}

async function start(script: string, args: readonly string[]): Promise<Ended> {
  return await new Promise((resolve) => {
    execFile(
      process.execPath,
      [script, ...args],
      { cwd: folder, maxBuffer: 64 * 2 ** 20 },
      (error, stdout, stderr) => {
        resolve({ status: error === null ? 0 : Number(error.code ?? 1), stdout, stderr });
      },
    );
  });
}

async function succeed(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await tarn(...args);
  expect(status, stderr).toBe(0);
  return stdout;
}

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "tarn-cli-"));
  // As in a checkout: builds what is missing or old, and then runs.
  const help = await start(path.join(root, "main/cli/launch.ts"), ["help"]);
  expect(help.stdout, help.stderr).toMatch(/^Usage: tarn COMMAND/);
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each(["mamba", "mamba2"])("%s", (name) => {
  const golden = loadGolden(`models/${name}/golden.safetensors`);

  test.each([
    ["reference", ["1", "7", "64", "1000"]],
    ["wasm", ["1", "7", "64", "1000"]],
    // SwiftShader compiles each pipeline for seconds: the two sizes that differ most.
    ["webgpu", ["7", "1000"]],
  ])(
    "logits on %s are transformers', whatever the chunks",
    async (backend, chunks) => {
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
    },
    120_000,
  );

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
      stderr: expect.stringMatching(/^tarn: .*checksum.*\n$/),
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
    expect(readdirSync(folder).filter((name) => name.startsWith("never"))).toEqual([]);
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
    expect(readdirSync(folder).filter((name) => name.startsWith("never"))).toEqual([]);
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

test("convert writes a GGUF file that gives the library's logits, and refuses what it cannot keep", async () => {
  const source = at("to-convert");
  mkdirSync(source);
  for (const file of ["config.json", "model.safetensors"])
    copyFileSync(path.join(model("mamba2"), file), path.join(source, file));
  const out = at("converted.gguf");
  expect(await tarn("convert", source, out, "--quant", "F32")).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/has no tokenizer.json/),
  });
  await succeed("convert", source, out, "--quant", "f32", "--no-tokenizer");
  const golden = loadGolden("models/mamba2/golden.safetensors");
  writeFileSync(at("convert.json"), JSON.stringify([[...golden.i32("p0.input_ids")]]));
  const logits = at("converted.safetensors");
  await succeed(
    "logits",
    "--model",
    out,
    "--ids",
    at("convert.json"),
    "--out",
    logits,
    "--backend",
    "wasm",
  );
  const given = readGolden(new Uint8Array(readFileSync(logits)), logits).f32("logits.0").values;
  expectAllClose(given, golden.f32("p0.logits").values, LOGITS, "logits");
  const refused: readonly (readonly [string[], RegExp, number])[] = [
    [
      [source, out, "--quant", "F16", "--no-tokenizer"],
      /there already. Replace it with --force/,
      1,
    ],
    [[source, at("x.gguf"), "--quant", "Q9"], /--quant is "Q9"; it can be F32, F16/, 2],
    [[out, at("x.gguf"), "--quant", "F16", "--no-tokenizer"], /a GGUF file already/, 1],
    [[model("mamba2_flags"), at("x.gguf"), "--quant", "F16"], /llama.cpp has no architecture/, 1],
  ];
  for (const [args, sentence, status] of refused) {
    const ended = await tarn("convert", ...args);
    expect(ended.stderr).toMatch(sentence);
    expect(ended.status).toBe(status);
  }
  expect(readdirSync(folder).filter((name) => name.startsWith("x.gguf"))).toEqual([]);
});

test("pull fetches a model from a hub, and inspect reads only the headers of one", async () => {
  const commit = "0123456789abcdef0123456789abcdef01234567";
  const blobs = new Map(
    ["config.json", "model.safetensors"].map((name) => [
      name,
      readFileSync(path.join(model("mamba2"), name)),
    ]),
  );
  let sent = 0;
  const hub = createServer((request, response) => {
    const url = request.url ?? "";
    const blob = blobs.get(url.slice(url.lastIndexOf("/") + 1));
    const json = (value: unknown): void =>
      void response
        .writeHead(200, { "content-type": "application/json" })
        .end(JSON.stringify(value));
    if (url.startsWith("/api/models/o/m/revision/"))
      return json({ _id: "1", id: "o/m", sha: commit });
    if (url.startsWith("/api/models/o/m/tree/"))
      return json(
        [...blobs].map(([name, bytes]) => ({
          type: "file",
          path: name,
          size: bytes.length,
          oid: createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex"),
        })),
      );
    if (blob === undefined) return void response.writeHead(404).end();
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
    const part = blob.subarray(
      Number(from ?? 0),
      to === undefined || to === "" ? blob.length : Number(to) + 1,
    );
    sent += part.length;
    response.writeHead(from === undefined ? 200 : 206, {
      etag: '"1"',
      "content-range": `bytes ${from ?? 0}-${Number(from ?? 0) + part.length - 1}/${blob.length}`,
    });
    response.end(part);
  });
  await new Promise<void>((resolve) => hub.listen(0, "127.0.0.1", resolve));
  const address = hub.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  process.env["HF_ENDPOINT"] = `http://127.0.0.1:${port}`;
  try {
    const inspected: unknown = JSON.parse(await succeed("inspect", "hf:o/m", "--json"));
    expect(inspected).toMatchObject({ modelType: "mamba2", runs: { nLayer: 3, dModel: 48 } });
    expect(sent).toBeLessThan(16_384);
    const to = at("pulled");
    await succeed("pull", "o/m", "--to", to);
    for (const [name, bytes] of blobs)
      expect(readFileSync(path.join(to, name)).equals(bytes)).toBe(true);
    expect((await tarn("pull", "o/none")).stderr).toMatch(/^tarn: There is no model o\/none/);
    expect((await tarn("pull", "m")).status).toBe(2);
  } finally {
    delete process.env["HF_ENDPOINT"];
    hub.close();
  }
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
