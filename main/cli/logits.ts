import path from "node:path";
import { TarnError } from "../contract/errors.ts";
import type { EngineClient } from "../engine/client.ts";
import { greedySampler } from "./samplers.ts";
import { readPrompts } from "./ids.ts";
import { withModel } from "./model.ts";
import { integer, parse, readCommon, required } from "./options.ts";
import { note, writeJson } from "./output.ts";
import {
  createSafetensorsWriter,
  type SafetensorsWriter,
  type TensorDeclaration,
} from "./safetensors-writer.ts";

export const usage = `Usage: tarn logits --model DIR_or_GGUF --ids FILE.json --out FILE.safetensors [--greedy N] [--chunk C]

Runs every prompt of FILE.json, [[id, …], …], and writes for prompt k: logits.k F32 (T, vocab) from prefill, and with
--greedy N also greedy.k I32 (N) and decode_logits.k F32 (N, vocab) from recurrent decode.`;

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parse(args, {
    ids: { type: "string" },
    out: { type: "string" },
    greedy: { type: "string" },
    chunk: { type: "string" },
  });
  const common = readCommon(values);
  const out = path.resolve(required("--out", values.out));
  const prompts = await readPrompts(required("--ids", values.ids));
  const greedy = values.greedy === undefined ? 0 : integer("--greedy", values.greedy, 0, 1_000_000);
  const chunk = values.chunk === undefined ? null : integer("--chunk", values.chunk, 1, 65_536);
  const empty = prompts.findIndex((ids) => ids.length === 0);
  if (empty !== -1)
    throw new TarnError(
      "bad-request",
      `${values.ids}: prompt ${empty} is empty; there are no logits of nothing.`,
    );

  const result = await withModel(common, async (engine, model) => {
    const writer = await createSafetensorsWriter(out, declare(prompts, greedy, model.vocabSize));
    try {
      for (const ids of prompts) await runPrompt(engine, writer, ids, { greedy, chunk });
      await writer.finish();
    } catch (error) {
      await writer.discard();
      throw error;
    }
    return {
      out,
      prompts: prompts.length,
      backend: model.device.backend,
      device: model.device.name,
    };
  });
  if (common.json) writeJson(result);
  else
    note(
      `Wrote the logits of ${result.prompts} prompts to ${out} (${result.backend}, ${result.device}).`,
    );
}

function declare(
  prompts: readonly Int32Array[],
  greedy: number,
  vocab: number,
): TensorDeclaration[] {
  return prompts.flatMap((ids, k): TensorDeclaration[] => [
    { name: `logits.${k}`, dtype: "F32", shape: [ids.length, vocab] },
    ...(greedy === 0
      ? []
      : [
          { name: `greedy.${k}`, dtype: "I32", shape: [greedy] } as const,
          { name: `decode_logits.${k}`, dtype: "F32", shape: [greedy, vocab] } as const,
        ]),
  ]);
}

async function runPrompt(
  engine: EngineClient,
  writer: SafetensorsWriter,
  ids: Int32Array,
  { greedy, chunk }: { readonly greedy: number; readonly chunk: number | null },
): Promise<void> {
  const { session } = await engine.call("create", {});
  const prefill = await engine.call("prefill", { session, ids, chunk, logits: "all" });
  await writer.append(expectLogits(prefill.logits));
  if (greedy > 0) {
    const decode = await engine.call("generate", {
      session,
      sampler: greedySampler,
      stopIds: [],
      maxTokens: greedy,
      keepLogits: true,
    });
    await writer.append(decode.ids);
    await writer.append(expectLogits(decode.logits));
  }
  await engine.call("free", { session });
}

function expectLogits(logits: Float32Array | null): Float32Array {
  if (logits === null)
    throw new TarnError("internal", "The engine gave no logits although they were asked for.");
  return logits;
}
