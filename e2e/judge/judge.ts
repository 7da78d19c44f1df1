/**
 * llama.cpp reads what `tarn convert` writes: every golden model, wider ones with random weights in every quantised type, and
 * the golden tokenizers. Prints tables; ends with 1 where llama.cpp and Tarn disagree. README.md says how to run and read it.
 *
 *   node e2e/judge/judge.ts [--write]
 *
 * With --write, what llama.cpp answered is kept in e2e/fixtures/llama-cpp, where tests find it.
 */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createReferenceBackend } from "../../kernels/backends/reference/backend.ts";
import { furthest } from "../../kernels/testing/all-close.ts";
import { LOGITS } from "../../kernels/testing/tolerances.ts";
import type { Quantisation } from "../../models/convert/convert.ts";
import { ConversionError } from "../../models/convert/errors.ts";
import { ggufHeader } from "../../models/testing/gguf-header.ts";
import { goldenFolders, type GoldenFolder } from "../../models/testing/golden-folders.ts";
import { safetensorsFile, type TestTensor } from "../../models/testing/stored-tensors.ts";
import { loadTestModel } from "../../models/testing/test-model.ts";
import { WIDE_MODELS, wideModel, WIDE_PROMPTS } from "../../models/testing/wide-models.ts";
import type { RandomAccessFile } from "../../models/weights/source.ts";
import { Judge } from "./ask.ts";
import { writeGguf } from "./files.ts";
import { judgeTokenizers } from "./tokenizers.ts";
import { VARIANTS, variantFiles } from "./variants.ts";

const GREEDY = 16;
const FIXTURES = new URL("../fixtures/llama-cpp/", import.meta.url);
/** Rows of the golden models are no whole blocks of anything larger. */
const GOLDEN_TYPES = ["F16", "Q8_0"] as const;
const WIDE_TYPES = ["F16", "Q8_0", "Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K"] as const;

/** Where llama.cpp is wrong, and why. */
const LLAMA_CPP_IS_WRONG: ReadonlyMap<string, string> = new Map([
  ["rwkv7", "its kernel takes 32 or 64 columns of a head at a time, and these heads have 16"],
]);

const judge = new Judge();
const folder = await mkdtemp(path.join(tmpdir(), "tarn-judge-"));
const model = path.join(folder, "model.gguf");
const write = process.argv.includes("--write");
let wrong = 0;
if (write && process.env["TARN_TEST_MODELS"] !== undefined)
  throw new Error("--write keeps the answers about all models; TARN_TEST_MODELS leaves some out");
try {
  if (write) await mkdir(FIXTURES, { recursive: true });
  const agreed = await judgeGolden();
  await judgeVariants();
  const wide = await judgeRounded(agreed);
  if (write) await writeHeaders(agreed, wide);
  wrong += await judgeTokenizers(judge, folder);
} finally {
  judge.close();
  await rm(folder, { recursive: true });
}
console.log(wrong === 0 ? "\nllama.cpp and Tarn agree." : `\n${wrong} disagreements.`);
process.exitCode = wrong === 0 ? 0 : 1;

/** The golden models as f32, against what their producers gave. Returns those about which llama.cpp is right. */
async function judgeGolden(): Promise<readonly GoldenFolder[]> {
  console.log("Golden models, f32: largest difference of a logit, over both prompts and 16 tokens");
  row("model", "", "llama.cpp-golden", "Tarn-golden", "Tarn-llama.cpp", "tokens");
  const agreed: GoldenFolder[] = [];
  for (const golden of goldenFolders()) {
    if (await agreesAboutGolden(golden)) agreed.push(golden);
  }
  return agreed;
}

async function agreesAboutGolden(golden: GoldenFolder): Promise<boolean> {
  const { name } = golden;
  const known = LLAMA_CPP_IS_WRONG.get(name);
  try {
    const file = await writeGguf(model, golden.files(), "F32");
    const { prompts, greedy, logits } = goldenAnswers(golden);
    const answer = await judge.ask({ file: model, prompts, greedy: GREEDY, texts: [] });
    const theirs = answer.prompts.map((each) => each.logits.flat());
    const sameTokens = answer.prompts.every((each, i) => String(each.greedy) === String(greedy[i]));
    const ours = await oursOf([file], prompts, greedy);
    const off = furthest(theirs.flat(), logits.flat());
    const agrees = sameTokens && off <= LOGITS.absolute;
    if (!agrees && known === undefined) wrong++;
    row(
      name,
      "",
      figure(off),
      figure(furthest(ours.flat(), logits.flat())),
      figure(furthest(ours.flat(), theirs.flat())),
      sameTokens ? "same" : `others${known === undefined ? "" : `: ${known}`}`,
    );
    return agrees;
  } catch (error) {
    if (error instanceof ConversionError)
      row(name, "", "not written: llama.cpp runs no such model");
    else if (known !== undefined) row(name, "", `${String(error)}: ${known}`);
    else {
      wrong++;
      row(name, "", String(error));
    }
    return false;
  }
}

/** Of each prompt: its ids, the tokens chosen after it, the logits after it and after each of them. */
function goldenAnswers({ prompts, golden }: GoldenFolder): {
  readonly prompts: readonly (readonly number[])[];
  readonly greedy: readonly (readonly number[])[];
  readonly logits: readonly (readonly number[])[];
} {
  const stored = golden();
  return {
    prompts: prompts.map((prompt) => [...stored.i32(`${prompt}.input_ids`)]),
    greedy: prompts.map((prompt) => [...stored.i32(`${prompt}.greedy`)]),
    logits: prompts.map((prompt) => {
      const { shape, values } = stored.f32(`${prompt}.logits`);
      const last = values.slice(-(shape[1] ?? 0));
      return [...last, ...stored.f32(`${prompt}.decode_logits`).values];
    }),
  };
}

/** Types that round the weights. Returns the wide models about which there is no disagreement. */
async function judgeRounded(agreed: readonly GoldenFolder[]): Promise<readonly string[]> {
  console.log(`
Rounded weights: largest difference of a logit after the prompts. llama.cpp rounds what it multiplies such weights with, to
8 bits or f16: its answer for the same values as f32 is another, and that is the one Tarn must give, whose factors are f32.`);
  row("model", "type", "Tarn-llama.cpp f32", "llama.cpp-its f32", "Tarn-llama.cpp");
  for (const golden of agreed) {
    const { prompts } = goldenAnswers(golden);
    for (const type of GOLDEN_TYPES)
      await judgeType(golden.name, () => golden.files(), type, prompts);
  }
  const wide: string[] = [];
  for (const name of Object.keys(WIDE_MODELS)) {
    const before = wrong;
    const kept = new Map<string, TestTensor>();
    for (const type of WIDE_TYPES) {
      const answers = await judgeType(`${name}, wide`, () => wideModel(name), type, WIDE_PROMPTS);
      for (const [kind, values] of Object.entries(answers)) {
        const shape = [WIDE_PROMPTS.length, values.length / WIDE_PROMPTS.length];
        kept.set(`${type}.${kind}`, { shape, values });
      }
    }
    const file = safetensorsFile(kept);
    if (write)
      await writeFile(new URL(`${name}.safetensors`, FIXTURES), await file.read(0, file.bytes));
    if (wrong === before) wide.push(name);
  }
  return wide;
}

/** What the files said that llama.cpp was right with: a line for each field. */
async function writeHeaders(
  agreed: readonly GoldenFolder[],
  wide: readonly string[],
): Promise<void> {
  const models: string[] = [];
  const add = async (name: string, files: readonly RandomAccessFile[]): Promise<void> => {
    const { metadata, tensors } = await ggufHeader(files);
    const fields = Object.entries(metadata).map(
      ([key, value]) => `      ${JSON.stringify(key)}: ${JSON.stringify(value)}`,
    );
    models.push(
      `  "${name}": {\n    "metadata": {\n${fields.join(",\n")}\n    },\n    "tensors": "${tensors}"\n  }`,
    );
  };
  for (const golden of agreed) await add(golden.name, golden.files());
  for (const name of wide) await add(`${name}, wide`, wideModel(name));
  await writeFile(new URL("headers.json", FIXTURES), `{\n${models.join(",\n")}\n}\n`);
}

/** Returns llama.cpp's logits: computed in its way, and with the same values as f32. */
async function judgeType(
  name: string,
  files: () => readonly RandomAccessFile[],
  type: Quantisation,
  prompts: readonly (readonly number[])[],
): Promise<Readonly<Record<"rounded" | "exact", Float32Array>>> {
  const ask = async (): Promise<Float32Array> => {
    const answer = await judge.ask({ file: model, prompts, greedy: 0, texts: [] });
    return Float32Array.from(answer.prompts.flatMap(({ logits }) => logits.flat()));
  };
  try {
    const file = await writeGguf(model, files(), type);
    const rounded = await ask();
    await writeGguf(model, files(), type, { decoded: true });
    const exact = await ask();
    const ours = (await oursOf([file], prompts)).flat();
    const off = furthest(ours, exact);
    if (off > LOGITS.absolute) wrong++;
    row(name, type, figure(off), figure(furthest(rounded, exact)), figure(furthest(ours, rounded)));
    return { rounded, exact };
  } catch (error) {
    wrong++;
    row(name, type, String(error));
    return { rounded: new Float32Array(), exact: new Float32Array() };
  }
}

/** Golden models with other fields in their configurations: from their own files in Tarn, as GGUF in llama.cpp. */
async function judgeVariants(): Promise<void> {
  console.log("\nOther configurations, f32: largest difference of a logit after the prompts");
  row("model", "", "Tarn-llama.cpp", "fields");
  for (const [name, fields] of VARIANTS) {
    const golden = goldenFolders().find((one) => one.name === name);
    if (golden === undefined) continue;
    try {
      const files = await variantFiles(golden, fields);
      const { prompts } = goldenAnswers(golden);
      await writeGguf(model, files, "F32");
      const answer = await judge.ask({ file: model, prompts, greedy: 0, texts: [] });
      const theirs = answer.prompts.flatMap(({ logits }) => logits.flat());
      const off = furthest((await oursOf(files, prompts)).flat(), theirs);
      if (off > LOGITS.absolute) wrong++;
      row(name, "", figure(off), JSON.stringify(fields));
    } catch (error) {
      wrong++;
      row(name, "", String(error), JSON.stringify(fields));
    }
  }
}

/** Our logits: after each prompt, and after each of the tokens that follow it. */
async function oursOf(
  files: readonly RandomAccessFile[],
  prompts: readonly (readonly number[])[],
  following: readonly (readonly number[])[] = [],
): Promise<number[][]> {
  const loaded = await loadTestModel(createReferenceBackend(), files);
  const results: number[][] = [];
  for (const [i, ids] of prompts.entries()) {
    const state = loaded.createState(1);
    const logits = await loaded.run(state, [ids], { phase: "prefill", logits: "last" });
    const options = { phase: "decode", logits: "last", chunk: 1 } as const;
    results.push([...logits, ...(await loaded.run(state, [following[i] ?? []], options))]);
    state.release();
  }
  loaded.release();
  return results;
}

function figure(difference: number): string {
  return difference.toExponential(1);
}

function row(...cells: readonly string[]): void {
  const widths = [24, 8, 20, 20, 20];
  const padded = cells.map((cell, i) => cell.padEnd(widths[i] ?? 0));
  console.log(padded.join(" ").trimEnd());
}
