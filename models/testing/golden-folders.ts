import { existsSync, readdirSync } from "node:fs";
import { fixtureBytes, loadGolden, type Golden } from "../../kernels/testing/golden.ts";
import { memoryFile } from "../weights/memory-file.ts";
import type { RandomAccessFile } from "../weights/source.ts";

const MODELS = new URL("../../e2e/fixtures/models/", import.meta.url);
const GOLDEN = "golden.safetensors";

/** A model of e2e/fixtures/models with the outputs that another implementation gave for it. */
export interface GoldenFolder {
  readonly name: string;
  /** "p0" and, in most, "p1". */
  readonly prompts: readonly string[];
  /** config.json, and config.legacy.json where there is one: two spellings of one model. */
  readonly configs: readonly string[];
  golden(): Golden;
  /** Its files for `openModel`, with one of the configurations as config.json. */
  files(config?: string): readonly RandomAccessFile[];
}

/**
 * Every folder of e2e/fixtures/models with golden outputs, found by looking: a new one needs no line of code. TARN_TEST_MODELS
 * ("jamba,lfm2") leaves only those named.
 */
export function goldenFolders(): readonly GoldenFolder[] {
  const wanted = process.env["TARN_TEST_MODELS"]?.split(",").map((name) => name.trim());
  return readdirSync(MODELS, { withFileTypes: true })
    .filter(
      (entry) => entry.isDirectory() && existsSync(new URL(`${entry.name}/${GOLDEN}`, MODELS)),
    )
    .map(({ name }) => name)
    .filter((name) => wanted === undefined || wanted.includes(name))
    .toSorted()
    .map(goldenFolder);
}

function goldenFolder(name: string): GoldenFolder {
  const files = readdirSync(new URL(name, MODELS));
  const isConfig = (file: string): boolean => /^config(\..+)?\.json$/.test(file);
  const golden = (): Golden => loadGolden(`models/${name}/${GOLDEN}`);
  const file = (stored: string, as = stored): RandomAccessFile =>
    memoryFile(as, fixtureBytes(`models/${name}/${stored}`));
  const prompts = golden();
  return {
    name,
    prompts: ["p0", "p1"].filter((prompt) => prompts.has(`${prompt}.input_ids`)),
    configs: files.filter(isConfig).toSorted(),
    golden,
    files: (config = "config.json") => [
      ...(files.includes(config) ? [file(config, "config.json")] : []),
      ...files
        .filter((stored) => stored !== GOLDEN && !isConfig(stored))
        .map((stored) => file(stored)),
    ],
  };
}
