/** The peer's answer from the values of the weights as f32: what says how far it is fair to be away (gate.ts). */
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { promptIds, type BenchEngine } from "./engine.ts";
import { gapOf } from "./gate.ts";
import { LLAMA_CPP, openLlama, type LlamaOptions } from "./llama.ts";
import { makeModel, type Format } from "./make-model.ts";
import { COMPARED_PROMPT } from "./measure.ts";
import { MODEL_SHAPES, type ModelName } from "./shapes.ts";

/**
 * Logits after the compared prompt, computed once for each file and kept beside it. On the CPU, which computes f32 as f32:
 * GPUs' backends round such weights to f16 as well, or use TF32.
 * @param peer how the peer runs on the CPU
 */
export async function exactLogits(
  folder: string,
  model: ModelName,
  format: Format,
  peer: LlamaOptions,
): Promise<Float32Array> {
  const version = LLAMA_CPP.replaceAll(" ", "-");
  const file = path.join(folder, `${model}-${format}.${version}.exact-logits`);
  const known = await readFile(file).catch(() => null);
  if (known !== null) return new Float32Array(new Uint8Array(known).buffer);
  const decoded = await makeModel(folder, model, MODEL_SHAPES[model], format, true);
  const engine = await openLlama({ ...peer, model: decoded, exact: true });
  try {
    const { logits } = await engine.answer(promptIds(COMPARED_PROMPT), 1);
    if (logits === null) throw new Error(`${peer.name} gave no logits`);
    // Under another name until it is whole, as the models.
    await writeFile(`${file}.${process.pid}`, new Uint8Array(logits.slice().buffer));
    await rename(`${file}.${process.pid}`, file);
    // Four times the size of the model, and not needed again.
    await rm(decoded);
    return logits;
  } finally {
    await engine.close();
  }
}

/** How far the engine is from those logits: the largest difference. */
export async function gapTo(exact: Float32Array, engine: BenchEngine): Promise<number> {
  const timed = await engine.answer(promptIds(COMPARED_PROMPT), 1);
  return gapOf({ logits: exact, tokens: [], margins: [] }, timed);
}
