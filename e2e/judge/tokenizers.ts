/** The golden tokenizers, written as GGUF: llama.cpp must cut the golden texts into the golden ids. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { tokenizerEntries } from "../../main/services/tokenizer/to-gguf.ts";
import { mambaShapes, randomTensors } from "../../models/testing/random-tensors.ts";
import { safetensorsFile } from "../../models/testing/stored-tensors.ts";
import { memoryFile } from "../../models/weights/memory-file.ts";
import type { RandomAccessFile } from "../../models/weights/source.ts";
import type { Judge } from "./ask.ts";
import { writeGguf } from "./files.ts";

const BEGIN: Readonly<Record<string, string>> = {
  neox_bytelevel_bpe: "",
  llama3_bytelevel_bpe: "<|begin_of_text|>",
  llama_bpe_bytefallback: "<s>",
};
/** Rows of the embedding without a token, as most models have them. */
const PADDING = 24;
const WIDTH = 32;

/** Returns how many tokenizers llama.cpp reads otherwise. */
export async function judgeTokenizers(judge: Judge, folder: string): Promise<number> {
  console.log("\nTokenizers: golden texts that llama.cpp cuts into the golden ids");
  let wrong = 0;
  for (const [name, bos] of Object.entries(BEGIN)) {
    const fixture = (file: string): string =>
      readFileSync(new URL(`../fixtures/tokenizers/${name}/${file}`, import.meta.url), "utf8");
    const { cases } = JSON.parse(fixture("golden.json")) as {
      readonly cases: readonly {
        readonly text: string;
        readonly ids_no_special: readonly number[];
      }[];
    };
    const tokenizer = { json: fixture("tokenizer.json"), template: null, bos, eos: "" };
    const listed = tokenizerEntries(tokenizer).find(
      ([key]) => key === "tokenizer.ggml.tokens",
    )?.[1];
    if (listed?.type !== "string[]") throw new Error(`${name} has no tokens`);
    const rows = listed.value.length + PADDING;
    const file = path.join(folder, `${name}.gguf`);
    await writeGguf(file, tinyModel(rows), "F16", { tokenizer: tokenizerEntries(tokenizer, rows) });
    // llama.cpp does not normalise texts (Unicode's NFC), whatever the tokenizer asks for.
    const judged = cases.filter(({ text }) => text.normalize("NFC") === text);
    const texts = judged.map(({ text }) => text);
    const answer = await judge.ask({ file, prompts: [[1, 2]], greedy: 0, texts });
    const other = judged.flatMap(({ text, ids_no_special: ids }, i) => {
      const theirs = answer.texts[i] ?? [];
      return String(theirs) === String(ids) ? [] : [{ text, ids, theirs }];
    });
    wrong += other.length;
    console.log(`${name}: ${judged.length - other.length} of ${judged.length}`);
    for (const { text, ids, theirs } of other)
      console.log(`  ${JSON.stringify(text)}: ${theirs.join(" ")} instead of ${ids.join(" ")}`);
  }
  return wrong;
}

function tinyModel(vocabSize: number): readonly RandomAccessFile[] {
  const config = {
    model_type: "mamba",
    hidden_size: WIDTH,
    intermediate_size: 2 * WIDTH,
    num_hidden_layers: 1,
    state_size: 8,
    time_step_rank: WIDTH / 16,
    vocab_size: vocabSize,
    tie_word_embeddings: true,
  };
  const shapes = {
    "backbone.embeddings.weight": [vocabSize, WIDTH],
    "backbone.norm_f.weight": [WIDTH],
    "backbone.layers.0.norm.weight": [WIDTH],
    ...mambaShapes("backbone.layers.0.mixer.", WIDTH, 8),
  };
  return [
    memoryFile("config.json", new TextEncoder().encode(JSON.stringify(config))),
    safetensorsFile(randomTensors(shapes, 1)),
  ];
}
