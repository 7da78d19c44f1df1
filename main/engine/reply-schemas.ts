import { z } from "zod";
import type {
  EngineErrorCode,
  EngineMethod,
  EngineMethods,
  EngineReply,
} from "../../models/engine/protocol.ts";
import { samplerSchema } from "../contract/dto.ts";

const errorCodes = [
  "weights",
  "unknown-architecture",
  "state",
  "kernel",
  "out-of-memory",
  "device-lost",
  "no-backend",
  "self-test",
  "no-model",
  "no-session",
  "bad-request",
  "internal",
] as const satisfies readonly EngineErrorCode[];

const count = z.number().int().nonnegative();
const session = z.object({ session: count });
const logits = z.instanceof(Float32Array).nullable();

const reason = z.enum(["stop", "length", "cancelled"]);

const device = z.object({
  backend: z.enum(["webgpu", "wasm", "reference"]),
  name: z.string(),
  software: z.boolean(),
  features: z.array(z.string()),
  limits: z.record(z.string(), z.number()),
});

const samplerHints = samplerSchema.omit({ seed: true, maxTokens: true }).partial();

const modelInfo = z.object({
  modelHash: z.string().regex(/^[0-9a-f]{64}$/),
  numericVersions: z.array(count).min(1),
  modelType: z.string(),
  name: z.string(),
  nLayer: count,
  dModel: count,
  vocabSize: count,
  parameters: count,
  stateBytes: count,
  stateBytesPerToken: count,
  weightBytes: count,
  dtypes: z.record(z.string(), count),
  stopIds: z.array(count),
  samplerHints,
  device,
  notices: z.array(z.string()),
  loadMs: z.number(),
});

const inspection = z.object({
  name: z.string(),
  format: z.enum(["safetensors", "gguf"]),
  modelType: z.string(),
  samplerHints,
  notices: z.array(z.string()),
  tensors: z.array(
    z.object({ name: z.string(), dtype: z.string(), shape: z.array(count), bytes: count }),
  ),
  runs: z
    .object({
      nLayer: count,
      dModel: count,
      vocabSize: count,
      parameters: count,
      weightBytes: count,
      dtypes: z.record(z.string(), count),
      repacked: z.array(
        z.object({
          tensor: z.string(),
          from: z.string(),
          to: z.string(),
          values: z.enum(["exact", "exact-in-f16-range", "rounded"]),
        }),
      ),
      stateBytes: count,
      stateBytesPerToken: count,
      bytesPerToken: count,
    })
    .nullable(),
  reason: z.string().nullable(),
});

/** What a worker may send, envelope first. The worker is another process's page under Electron: nothing is believed. */
export const replySchema: z.ZodType<EngineReply> = z.discriminatedUnion("kind", [
  z.object({ id: count, kind: z.literal("done"), output: z.unknown() }),
  z.object({
    id: count,
    kind: z.literal("failed"),
    error: z.object({
      code: z.enum(errorCodes),
      message: z.string(),
      data: z.record(z.string(), z.union([z.string(), z.number()])),
    }),
  }),
  z.object({
    id: count,
    kind: z.literal("event"),
    event: z.discriminatedUnion("type", [
      z.object({ type: z.literal("progress"), done: count, total: count }),
      z.object({ type: z.literal("token"), token: count, index: count, branch: count }),
    ]),
  }),
]);

/** The `output` of each method's `done`. */
export const outputSchemas: { readonly [M in EngineMethod]: z.ZodType<EngineMethods[M]["out"]> } = {
  load: modelInfo,
  inspect: inspection,
  unload: z.null(),
  create: session,
  free: z.null(),
  fork: session,
  prefillMany: z.object({ positions: z.array(count), prefilled: count, cancelled: z.boolean() }),
  generateMany: z.object({
    activations: z.enum(["int16", "int8"]),
    branches: z.array(
      z.object({
        ids: z.instanceof(Int32Array),
        reason,
        position: count,
        logProbs: z.instanceof(Float32Array),
      }),
    ),
    decodeMs: z.number(),
  }),
  score: z.object({ logProbs: z.instanceof(Float32Array), cancelled: z.boolean() }),
  scoreMany: z.object({ logProbs: z.array(z.instanceof(Float32Array)), cancelled: z.boolean() }),
  memoryMap: z.object({
    layers: z.array(z.object({ name: z.string(), shares: z.instanceof(Float32Array) })),
    cancelled: z.boolean(),
    map: count.nullable(),
  }),
  dropMap: z.null(),
  prefill: z.object({ position: count, logits, cancelled: z.boolean(), prefilled: count }),
  generate: z.object({
    ids: z.instanceof(Int32Array),
    reason,
    position: count,
    logits,
    decodeMs: z.number(),
  }),
  snapshot: z.object({
    bytes: z.instanceof(Uint8Array),
    headBytes: count,
    pageBytes: count,
    pageHashes: z.instanceof(Uint8Array),
  }),
  restore: z.object({ session: count, position: count }),
  memory: z.object({ weights: count, states: count, workspace: count }),
  profile: z.object({
    rows: z
      .array(
        z.object({
          kernel: z.string(),
          calls: count,
          ms: z.number(),
          bytes: z.number(),
          flop: z.number(),
        }),
      )
      .nullable(),
    bytesPerSecond: z.number().nullable(),
  }),
  devices: z.object({ devices: z.array(device), notes: z.array(z.string()) }),
};
