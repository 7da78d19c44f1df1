/** Tarn as a program has it: an engine client, timed from outside. Runs in Node and in a page. */
import { greedySampler } from "../../main/cli/samplers.ts";
import type { EngineClient } from "../../main/engine/client.ts";
import type { BackendChoice, ModelInfo } from "../../models/engine/protocol.ts";
import type { BenchEngine } from "./engine.ts";

/** Tarn, and what it says of the model. */
export interface TarnEngine extends BenchEngine {
  readonly model: ModelInfo;
  /** For what has no peer: batches, profiles, long sequences. */
  readonly client: EngineClient;
  /** What the GPU's memory copies in this engine's hands, read and written bytes a second; null elsewhere. */
  copyBandwidth(): Promise<number | null>;
}

/** Any engine client with the model loaded. */
export async function withModel(
  client: EngineClient,
  file: { readonly path: string; readonly bytes: number },
  backend: BackendChoice,
  threads: number,
): Promise<TarnEngine> {
  const model = await client.call("load", {
    files: [{ name: "model.gguf", open: file.path, bytes: file.bytes }],
    backend,
    quantise: null,
    kvDtype: "f32",
    threads,
  });

  async function inSession<T>(use: (session: number) => Promise<T>): Promise<T> {
    const { session } = await client.call("create", {});
    try {
      return await use(session);
    } finally {
      await client.call("free", { session });
    }
  }
  const prompt = async (session: number, ids: readonly number[]): Promise<Float32Array> => {
    const input = { session, ids: Int32Array.from(ids), chunk: null, logits: "last" as const };
    const { logits } = await client.call("prefill", input);
    if (logits === null) throw new Error("Tarn gave no logits");
    return logits;
  };
  const generate = async (
    session: number,
    maxTokens: number,
    keepLogits: boolean,
  ): Promise<{ readonly ids: Int32Array; readonly logits: Float32Array | null }> =>
    await client.call("generate", {
      session,
      sampler: greedySampler,
      stopIds: [],
      maxTokens,
      keepLogits,
    });

  return {
    name: "Tarn",
    model,
    client,
    device: `${model.device.backend}, ${model.device.name}, ${model.device.features.join(" ")}`,
    prefill: async (ids) =>
      await inSession(async (session) => await seconds(async () => await prompt(session, ids))),
    decode: async (ids, count) =>
      await inSession(async (session) => {
        await prompt(session, ids);
        return await seconds(async () => await generate(session, count, false));
      }),
    answer: async (ids, count) =>
      await inSession(async (session) => {
        const logits = await prompt(session, ids);
        const { ids: tokens, logits: after } = await generate(session, count, true);
        const rows = [logits, ...rowsOf(after ?? new Float32Array(), logits.length)];
        return {
          logits,
          tokens: [...tokens],
          margins: rows.slice(0, count).map(margin),
        };
      }),
    async copyBandwidth() {
      // Measured at the end of a profile; here one of nothing.
      await client.call("profile", { on: true });
      return (await client.call("profile", { on: false })).bytesPerSecond;
    },
    close: async () => await client.close(),
  };
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

function rowsOf(values: Float32Array, length: number): Float32Array[] {
  return Array.from({ length: values.length / length }, (_, row) =>
    values.subarray(row * length, (row + 1) * length),
  );
}

/** How far the largest value is above the next. */
export function margin(values: Float32Array): number {
  let [first, second] = [-Infinity, -Infinity];
  for (const value of values) {
    if (value > first) [first, second] = [value, first];
    else if (value > second) second = value;
  }
  return first - second;
}
