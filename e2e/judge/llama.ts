/**
 * Asks llama.cpp, through node-llama-cpp. A process of its own: where llama.cpp does not know what it reads, it ends the process.
 * Each line of the standard input is a `Question` as JSON, each line of descriptor 3 its `Answer`.
 */
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";

/** What is asked of a GGUF file. */
export interface Question {
  readonly file: string;
  readonly prompts: readonly (readonly number[])[];
  /** Tokens to choose greedily after each prompt. */
  readonly greedy: number;
  readonly texts: readonly string[];
}

export interface Answer {
  readonly prompts: readonly {
    /** (1 + greedy, vocabSize): after the prompt, and after each chosen token. */
    readonly logits: readonly (readonly number[])[];
    readonly greedy: readonly number[];
  }[];
  /** The token ids of each text, names of control tokens being these tokens; without those that are put around texts. */
  readonly texts: readonly (readonly number[])[];
}

/** What is used of node-llama-cpp, which is not installed where the rest of the code is checked. */
interface NodeLlamaCpp {
  getLlama(options: object): Promise<Llama>;
}

interface Llama {
  loadModel(options: object): Promise<LlamaModel>;
}

interface LlamaModel {
  tokenize(text: string, specialTokens: boolean): readonly number[];
  createContext(options: object): Promise<{
    getSequence(): LlamaSequence;
    dispose(): Promise<void>;
  }>;
  dispose(): Promise<void>;
}

interface LlamaSequence {
  controlledEvaluate(
    input: readonly (number | readonly [token: number, options: object])[],
  ): Promise<
    readonly ({ readonly next: { readonly logits?: ReadonlyMap<number, number> } } | undefined)[]
  >;
}

const ANSWERS = 3;
/** Tokens of the longest prompt with what is chosen after it, and some more. */
const CONTEXT = 512;
/** One thread, so that the same file gives the same bits again. */
const THREADS = 1;

// Not a name that a type checker or a bundler would look for.
const library = (await import(["node", "llama", "cpp"].join("-"))) as NodeLlamaCpp;
const llama = await library.getLlama({ gpu: false, build: "never", logLevel: "error" });
for await (const line of createInterface({ input: process.stdin })) {
  writeSync(ANSWERS, `${JSON.stringify(await answer(JSON.parse(line) as Question))}\n`);
}

async function answer({ file, prompts, greedy, texts }: Question): Promise<Answer> {
  const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 });
  const answers: Answer["prompts"][number][] = [];
  for (const ids of prompts) answers.push(await run(model, ids, greedy));
  const tokens = texts.map((text) => [...model.tokenize(text, true)]);
  await model.dispose();
  return { prompts: answers, texts: tokens };
}

async function run(
  model: LlamaModel,
  ids: readonly number[],
  greedy: number,
): Promise<Answer["prompts"][number]> {
  const context = await model.createContext({
    contextSize: CONTEXT,
    batchSize: CONTEXT,
    threads: THREADS,
    flashAttention: false,
    // Keys and values unrounded, so that nothing differs but what is judged.
    experimentalKvCacheKeyType: "F32",
    experimentalKvCacheValueType: "F32",
  });
  const sequence = context.getSequence();
  const logits = [await evaluate(sequence, ids)];
  const chosen: number[] = [];
  for (let step = 0; step < greedy; step++) {
    const last = logits.at(-1) ?? [];
    const next = last.indexOf(Math.max(...last));
    chosen.push(next);
    logits.push(await evaluate(sequence, [next]));
  }
  await context.dispose();
  return { logits, greedy: chosen };
}

/** The logits behind the last of some tokens. */
async function evaluate(sequence: LlamaSequence, ids: readonly number[]): Promise<number[]> {
  const wanted = { generateNext: { logits: true, options: { temperature: 0 } } };
  const output = await sequence.controlledEvaluate(
    ids.map((id, index) => (index === ids.length - 1 ? [id, wanted] : id)),
  );
  const logits = output.at(-1)?.next.logits;
  if (logits === undefined) throw new Error("llama.cpp gave no logits");
  return Array.from({ length: logits.size }, (_, id) => logits.get(id) ?? NaN);
}
