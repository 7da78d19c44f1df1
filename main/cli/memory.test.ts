/** What loading costs in memory, as the system counts it: the built command line over a model of some hundred megabytes of zeros. */
import { spawn } from "node:child_process";
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const MEBIBYTE = 2 ** 20;

/**
 * For `node --import`: at its end the program writes the most resident bytes that it had to TARN_PEAK_FILE, as the system counts them. What
 * `getrusage` says on Linux begins with the peak of the process that this one was forked from. Not a file of TypeScript: node's compiler for
 * that takes some 40 MB itself.
 */
const watcher = `data:text/javascript,${encodeURIComponent(`
  import { readFileSync, writeFileSync } from "node:fs";
  process.on("exit", () => {
    const peak = process.platform === "linux"
      ? Number(/^VmHWM:\\s+(\\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1])
      : process.resourceUsage().maxRSS;
    writeFileSync(process.env.TARN_PEAK_FILE, String(1024 * peak));
  });
`)}`;

/** Writes a Mamba-2 of real width whose weights are a hole in the file; returns the bytes of its tensors. */
function writeModel(folder: string, nLayer: number): number {
  const dModel = 2048;
  const nHead = 64;
  const headDim = 64;
  const dState = 128;
  const vocabSize = 32_000;
  const dInner = nHead * headDim;
  const channels = dInner + 2 * dState;
  const header: Record<string, object> = {};
  let end = 0;
  const add = (name: string, dtype: "F16" | "F32", ...shape: readonly number[]): void => {
    const bytes = shape.reduce((product, side) => product * side, dtype === "F16" ? 2 : 4);
    header[name] = { dtype, shape, data_offsets: [end, end + bytes] };
    end += bytes;
  };
  add("backbone.embeddings.weight", "F16", vocabSize, dModel);
  for (let i = 0; i < nLayer; i++) {
    const at = `backbone.layers.${i}.`;
    add(`${at}norm.weight`, "F32", dModel);
    add(`${at}mixer.in_proj.weight`, "F16", dInner + channels + nHead, dModel);
    add(`${at}mixer.conv1d.weight`, "F32", channels, 1, 4);
    add(`${at}mixer.conv1d.bias`, "F32", channels);
    for (const name of ["dt_bias", "A_log", "D"]) add(`${at}mixer.${name}`, "F32", nHead);
    add(`${at}mixer.norm.weight`, "F32", dInner);
    add(`${at}mixer.out_proj.weight`, "F16", dModel, dInner);
  }
  add("backbone.norm_f.weight", "F32", dModel);
  const text = JSON.stringify(header);
  const json = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(json.length));
  const file = openSync(path.join(folder, "model.safetensors"), "w");
  writeSync(file, Buffer.concat([prefix, json]));
  ftruncateSync(file, prefix.length + json.length + end);
  closeSync(file);
  const config = {
    model_type: "mamba2",
    hidden_size: dModel,
    num_heads: nHead,
    head_dim: headDim,
    state_size: dState,
    n_groups: 1,
    num_hidden_layers: nLayer,
    vocab_size: vocabSize,
    tie_word_embeddings: true,
  };
  writeFileSync(path.join(folder, "config.json"), JSON.stringify(config));
  return end;
}

test.each([
  { quantise: [], packed: 1 },
  // From 16 bits to 34 bytes for 32 values.
  { quantise: ["--quantise", "q8_0"], packed: 34 / 64 },
])(
  "a model is loaded in 1.15 times its packed size and 256 MB: $quantise",
  async ({ quantise, packed }) => {
    const folder = mkdtempSync(path.join(tmpdir(), "tarn-memory-"));
    try {
      const bytes = writeModel(folder, 6) * packed;
      const ids = path.join(folder, "ids.json");
      writeFileSync(ids, "[[1, 2, 3]]");
      const out = path.join(folder, "out.safetensors");
      const args = ["logits", "--model", folder, "--ids", ids, "--out", out, "--backend", "wasm"];
      const peakFile = path.join(folder, "peak");
      const tarn = spawn(
        process.execPath,
        ["--import", watcher, path.join(root, "out/node/cli.js"), ...args, ...quantise],
        {
          env: { ...process.env, TARN_PEAK_FILE: peakFile },
          stdio: ["ignore", "ignore", "inherit"],
        },
      );
      expect(await new Promise((resolve) => tarn.on("exit", resolve))).toBe(0);
      const peak = Number(readFileSync(peakFile, "utf8"));
      expect(peak).toBeGreaterThan(bytes);
      expect(peak).toBeLessThan(1.15 * bytes + 256 * MEBIBYTE);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
