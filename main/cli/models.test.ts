/** Commands that bring models from elsewhere, or into another form. */
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import path from "node:path";
import { expect, test } from "vitest";
import { expectAllClose } from "../../kernels/testing/all-close.ts";
import { loadGolden, readGolden } from "../../kernels/testing/golden.ts";
import { LOGITS } from "../../kernels/testing/tolerances.ts";
import { at, model, succeed, tarn, useCommandLine } from "./command-line.testing.ts";

useCommandLine();

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
    [[model("mamba2_flags"), at("x.gguf"), "--quant", "F16"], /llama.cpp (runs|has) no/, 1],
  ];
  for (const [args, sentence, status] of refused) {
    const ended = await tarn("convert", ...args);
    expect(ended.stderr).toMatch(sentence);
    expect(ended.status).toBe(status);
  }
  expect(readdirSync(at("")).filter((name) => name.startsWith("x.gguf"))).toEqual([]);
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
