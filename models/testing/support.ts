/**
 * What docs/support.md says, and where it comes from: every test that compares logits with another implementation's
 * leaves its largest difference in a folder that is not committed; `npm run docs:support` makes the table of them.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { architectures } from "../arch/registry.ts";
import { WeightsError } from "../weights/errors.ts";
import { openModel } from "../weights/open-model.ts";
import type { RandomAccessFile } from "../weights/source.ts";
import type { BackendName } from "../../kernels/spec/backend.ts";

/** The table's columns. */
export const SUPPORT_FORMATS = ["safetensors", "GGUF"] as const;
export type SupportFormat = (typeof SUPPORT_FORMATS)[number];
export const SUPPORT_BACKENDS = [
  "reference",
  "wasm",
  "webgpu",
] as const satisfies readonly BackendName[];

/** Where a figure of the table comes from. */
export interface SupportPlace {
  /** The row: `Model.modelType`, or the registry's name for another layout of such models. */
  readonly modelType: string;
  /** Folder of e2e/fixtures/models. */
  readonly folder: string;
  readonly format: SupportFormat;
  readonly backend: BackendName;
  /** Which of the folder's prompts, or whatever else tells two figures of one place apart. */
  readonly prompt: string;
}

/** One comparison: the largest |logit − expected|, or why there is none. */
export type SupportRecord = SupportPlace &
  ({ readonly difference: number } | { readonly reason: string });

/** A cell of the table: its bound, or its text. */
export interface SupportTable {
  /** Architectures in the table's order. */
  readonly architectures: readonly string[];
  /** @returns undefined where the table has no such row */
  cell(modelType: string, format: SupportFormat, backend: BackendName): string | undefined;
}

/** Where tests leave their records: a file each, so that they may run at the same time. */
export const RECORDS = new URL("../../node_modules/.cache/tarn-support/", import.meta.url);
/** The table. */
export const SUPPORT_FILE = new URL("../../docs/support.md", import.meta.url);
/** Set while the table is written anew: what it says does not bind then. */
export const WRITING = "TARN_WRITE_SUPPORT";

/** CPUs and GPUs round differently: a difference may be this many times what the table says. */
const ALLOWANCE = 4;

/**
 * Leaves a difference for the table.
 * @throws Error if it is far over what the table says
 */
export function recordDifference(place: SupportPlace, difference: number): void {
  keep({ ...place, difference });
  if (process.env[WRITING] !== undefined) return;
  const documented = Number(readSupport().cell(place.modelType, place.format, place.backend));
  if (difference > ALLOWANCE * documented) {
    throw new Error(
      `${place.folder} (${place.format}) on ${place.backend}: a logit is off by ${difference}; docs/support.md says ${documented}. ` +
        "If that is right, write the table anew: npm run docs:support",
    );
  }
}

/** Leaves the reason why there is no figure for GGUF, where the architecture of these files refuses that format. */
export async function recordGgufRefusal(
  place: Omit<SupportPlace, "format">,
  files: readonly RandomAccessFile[],
): Promise<void> {
  const { config, tensors, close } = await openModel(files);
  try {
    architectures.get(config.modelType)?.fromGguf(new Map(), tensors);
  } catch (error) {
    if (error instanceof WeightsError && error.code === "unsupported")
      keep({ ...place, format: "GGUF", reason: "not in llama.cpp" });
  } finally {
    await close();
  }
}

function keep(record: SupportRecord): void {
  mkdirSync(RECORDS, { recursive: true });
  const { folder, format, backend, prompt } = record;
  const name = `${folder}.${format}.${backend}.${prompt}.json`;
  writeFileSync(new URL(name, RECORDS), JSON.stringify(record));
}

/** Everything that was left by the tests that ran here. */
export function supportRecords(): readonly SupportRecord[] {
  mkdirSync(RECORDS, { recursive: true });
  return readdirSync(RECORDS).map(
    (name) => JSON.parse(readFileSync(new URL(name, RECORDS), "utf8")) as SupportRecord,
  );
}

/** docs/support.md as it stands. */
export function readSupport(): SupportTable {
  const rows = readFileSync(SUPPORT_FILE, "utf8")
    .split("\n")
    .map((line) => line.split("|").map((cell) => cell.trim()))
    .filter((cells) => /^`\w+`$/.test(cells[1] ?? ""));
  const byName = new Map(rows.map((cells) => [(cells[1] ?? "").slice(1, -1), cells.slice(2)]));
  return {
    architectures: [...byName.keys()],
    cell: (modelType, format, backend) => byName.get(modelType)?.[column(format, backend)],
  };
}

function column(format: SupportFormat, backend: BackendName): number {
  return (
    SUPPORT_FORMATS.indexOf(format) * SUPPORT_BACKENDS.length + SUPPORT_BACKENDS.indexOf(backend)
  );
}

/** The table's text. A cell that has neither difference nor reason says so. */
export function supportText(records: readonly SupportRecord[]): string {
  const modelTypes = [...new Set(records.map(({ modelType }) => modelType))].toSorted();
  const rows = modelTypes.map((modelType) => {
    const own = records.filter((record) => record.modelType === modelType);
    const cells = SUPPORT_FORMATS.flatMap((format) =>
      SUPPORT_BACKENDS.map((backend) =>
        cellText(own.filter((record) => record.format === format && record.backend === backend)),
      ),
    );
    return `| \`${modelType}\` | ${cells.join(" | ")} |`;
  });
  const heads = SUPPORT_FORMATS.flatMap((format) =>
    SUPPORT_BACKENDS.map((backend) => `${format}, ${backend}`),
  );
  return [
    "# What runs, and how exactly",
    "",
    "Written by `npm run docs:support` from the tests that compare Tarn with other implementations; not by hand.",
    "",
    "Each figure is the largest absolute difference of a logit from what another implementation gave (e2e/fixtures/models/README.md names it), over the prompts and the tokens decoded after them of all test models of the architecture, rounded up to one digit. For `codestral_mamba`, `moe_mamba` and part of `state_spaces` (the authors' own files of Mamba and its hybrids) the other implementation is float64 loops of the papers' equations, kept apart from the product's code. The logits' standard deviation is about 2; tests accept 1e-3, the same greedy tokens, and states within 1e-4.",
    "",
    `Weights, activations and states are f32. GGUF is the same model written as such a file and read again. \`webgpu\` was SwiftShader, a GPU played by the CPU. On an NVIDIA H100 (Dawn, Linux; 2026-11-22) the same tests passed too, and no logit was off by more than 8e-5. Processors round differently: a test fails where a difference is over ${ALLOWANCE} times what stands here.`,
    "",
    `| architecture | ${heads.join(" | ")} |`,
    `| --- | ${heads.map(() => "---").join(" | ")} |`,
    ...rows,
    "",
  ].join("\n");
}

function cellText(records: readonly SupportRecord[]): string {
  const differences = records.flatMap((record) =>
    "difference" in record ? [record.difference] : [],
  );
  if (differences.length > 0) return roundedUp(Math.max(...differences));
  const reasons = new Set(records.flatMap((record) => ("reason" in record ? [record.reason] : [])));
  return [...reasons].join("; ") || UNTESTED;
}

/** What a cell says that no test has filled. */
export const UNTESTED = "not tested";

/** 3.21e-5 is 4e-5. */
export function roundedUp(value: number): string {
  if (value === 0) return "0";
  const exponent = Math.floor(Math.log10(value));
  const digit = Math.ceil(value / 10 ** exponent);
  return digit === 10 ? `1e${exponent + 1}` : `${digit}e${exponent}`;
}
