/**
 * An engine for tests of services: its "model" is the list of ids that it was fed, its answers are scripted. It keeps the
 * protocol's promises (cancel between tokens, snapshots that are refused when changed) and notes what it was asked to read.
 */
import { createHash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import type { EngineClient } from "../engine/client.ts";
import type {
  EngineErrorCode,
  EngineMethod,
  EngineMethods,
  SamplerHints,
} from "../../models/engine/protocol.ts";

type CallOptions = Parameters<EngineClient["call"]>[2];

/** What the engine does step by step: a chunk of a prompt, a token of an answer, a token of a memory map. */
type Stepwise = "prefill" | "generate" | "memoryMap";

/** What a test sets and looks at. */
export interface FakeEngine {
  readonly client: EngineClient;
  /** Ids of every prefill so far. */
  readonly prefills: Int32Array[];
  /** Every step of a memory map: how far it had come. */
  readonly mapped: number[];
  /** Tokens of the next answers, in turn; the last one repeats. */
  answers: readonly (readonly number[])[];
  /** Tokens a chunk of prefill: a cancel takes effect behind one. */
  chunk: number;
  /** Makes the next call of this method fail. */
  failNext: { readonly method: EngineMethod; readonly code: EngineErrorCode } | null;
  /** Log-probability of every token of a question behind these ids. */
  likelihood: (fed: readonly number[]) => number;
  /** What the loaded model says of its sampling. */
  samplerHints: SamplerHints;
  /** What the loaded model says of the states that it continues. */
  numericVersions: readonly number[];
  /** Samplers of every generation. */
  readonly samplers: EngineMethods["generate"]["in"]["sampler"][];
  /**
   * Takes `steps` more steps of this work, in however many calls, and then stands before the next one until `release`; a cancel ends
   * a call that stands there. So a test finds the engine in the middle of something, however busy the machine is. There is one such
   * place at a time: another one lets go of the one before.
   * @returns when it stands there
   */
  hold(work: Stepwise, steps: number): Promise<void>;
  /** Lets it go on, to the end of everything. */
  release(): void;
}

class FakeEngineError extends Error {
  override readonly name = "EngineError";
  readonly code: EngineErrorCode;
  readonly data = {};

  constructor(code: EngineErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** Where a test holds the engine. */
interface Gate {
  readonly work: Stepwise;
  left: number;
  readonly reached: PromiseWithResolvers<void>;
  readonly opened: PromiseWithResolvers<void>;
}

type Implementation = {
  [M in EngineMethod]: (
    input: EngineMethods[M]["in"],
    options: CallOptions,
  ) => Promise<EngineMethods[M]["out"]>;
};

async function settledOrAborted(
  work: Promise<void>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const aborted = Promise.withResolvers<void>();
  const stop = (): void => aborted.resolve();
  signal?.addEventListener("abort", stop);
  await Promise.race([work, aborted.promise]);
  signal?.removeEventListener("abort", stop);
}

/** @param modelHash two engines with the same hash can read each other's snapshots */
export function createFakeEngine(modelHash = "fake-model", stopId = 5): FakeEngine {
  const sessions = new Map<number, number[]>();
  /** Of maps that were cancelled: how far they had come. */
  const maps = new Map<number, number>();
  let nextSession = 1;
  let gate: Gate | null = null;
  const fake: FakeEngine = {
    client: { call, close: async () => undefined },
    prefills: [],
    mapped: [],
    answers: [[stopId]],
    chunk: 1,
    failNext: null,
    likelihood: () => 0,
    samplerHints: {},
    numericVersions: [1],
    samplers: [],
    async hold(work, steps) {
      fake.release();
      const reached = Promise.withResolvers<void>();
      gate = { work, left: steps, reached, opened: Promise.withResolvers<void>() };
      await reached.promise;
    },
    release() {
      gate?.opened.resolve();
      gate = null;
    },
  };

  /** Before each step. */
  async function mayStep(work: Stepwise, signal: AbortSignal | undefined): Promise<void> {
    if (gate?.work !== work || signal?.aborted === true) return;
    if (gate.left > 0) {
      gate.left--;
      return;
    }
    gate.reached.resolve();
    await settledOrAborted(gate.opened.promise, signal);
  }

  function session(id: number): number[] {
    const ids = sessions.get(id);
    if (ids === undefined) throw new FakeEngineError("no-session", `no session ${id}`);
    return ids;
  }
  function open(ids: number[]): number {
    sessions.set(nextSession, ids);
    return nextSession++;
  }

  const methods: Implementation = {
    load: async () => ({
      modelHash,
      numericVersions: fake.numericVersions,
      modelType: "mamba2",
      name: "fake",
      nLayer: 1,
      dModel: 1,
      vocabSize: 8192,
      parameters: 1,
      stateBytes: 1,
      stateBytesPerToken: 0,
      weightBytes: 1,
      dtypes: { q8_0: 1 },
      stopIds: [stopId],
      samplerHints: fake.samplerHints,
      device: { backend: "reference", name: "fake", software: true, features: [], limits: {} },
      notices: [],
      loadMs: 1,
    }),
    inspect: async () => ({
      name: "fake",
      format: "gguf",
      modelType: "mamba2",
      samplerHints: {},
      notices: [],
      tensors: [],
      runs: null,
      reason: "a fake",
    }),
    unload: async () => null,
    create: async () => ({ session: open([]) }),
    free: async (input) => {
      sessions.delete(input.session);
      return null;
    },
    fork: async (input) => ({ session: open([...session(input.session)]) }),
    async prefill(input, options) {
      const ids = session(input.session);
      let prefilled = 0;
      while (prefilled < input.ids.length) {
        await mayStep("prefill", options?.signal);
        if (options?.signal?.aborted === true) break;
        const piece = input.ids.subarray(prefilled, prefilled + fake.chunk);
        ids.push(...piece);
        prefilled += piece.length;
        options?.onEvent?.({ type: "progress", done: prefilled, total: input.ids.length });
      }
      fake.prefills.push(input.ids.slice(0, prefilled));
      return {
        position: ids.length,
        logits: null,
        cancelled: prefilled < input.ids.length,
        prefilled,
      };
    },
    async generate(input, options) {
      const ids = session(input.session);
      fake.samplers.push(input.sampler);
      const [answer = [], ...rest] = fake.answers;
      if (rest.length > 0) fake.answers = rest;
      const written: number[] = [];
      const out = (reason: "stop" | "length" | "cancelled"): EngineMethods["generate"]["out"] => ({
        ids: Int32Array.from(written),
        reason,
        position: ids.length,
        logits: null,
        decodeMs: Math.max(written.length, 1),
      });
      for (const token of answer) {
        // A cancel comes between two tokens.
        await turn();
        await mayStep("generate", options?.signal);
        if (options?.signal?.aborted === true) return out("cancelled");
        if (written.length === input.maxTokens) return out("length");
        written.push(token);
        ids.push(token);
        options?.onEvent?.({ type: "token", token, index: written.length - 1, branch: 0 });
      }
      return out("stop");
    },
    async prefillMany({ sessions: ids, ids: prompts, chunk }, options) {
      const outs: EngineMethods["prefill"]["out"][] = [];
      for (const [index, id] of ids.entries()) {
        const prompt = { session: id, ids: prompts[index] ?? new Int32Array(), chunk };
        outs.push(await methods.prefill({ ...prompt, logits: "none" }, options));
      }
      return {
        positions: outs.map(({ position }) => position),
        prefilled: outs.reduce((sum, { prefilled }) => sum + prefilled, 0),
        cancelled: outs.some(({ cancelled }) => cancelled),
      };
    },
    async generateMany({ sessions: ids, samplers, stopIds, maxTokens, activations }, options) {
      const branches: EngineMethods["generateMany"]["out"]["branches"][number][] = [];
      for (const [branch, id] of ids.entries()) {
        const sampler = samplers[branch];
        if (sampler === undefined) throw new FakeEngineError("bad-request", "samplers");
        const {
          reason,
          position,
          ids: written,
        } = await methods.generate(
          { session: id, sampler, stopIds, maxTokens, keepLogits: false },
          {
            ...options,
            onEvent: (event) =>
              options?.onEvent?.(event.type === "token" ? { ...event, branch } : event),
          },
        );
        const logProbs = new Float32Array(written.length);
        branches.push({ ids: written, reason, position, logProbs });
      }
      return { branches, activations: activations ?? "int16", decodeMs: 1 };
    },
    score: async ({ ids }) => ({ logProbs: new Float32Array(ids.length), cancelled: false }),
    scoreMany: async ({ sessions: behind, ids }) => ({
      logProbs: ids.map(({ length }, index) =>
        new Float32Array(length).fill(fake.likelihood(session(behind[index] ?? 0))),
      ),
      cancelled: false,
    }),
    async memoryMap({ ids: { length }, map: from }, options) {
      const begun = from === null ? 0 : maps.get(from);
      if (begun === undefined) throw new FakeEngineError("no-session", `no map ${from}`);
      if (from !== null) maps.delete(from);
      for (let done = begun + 1; done <= length; done++) {
        await mayStep("memoryMap", options?.signal);
        fake.mapped.push(done);
        options?.onEvent?.({ type: "progress", done, total: length });
        if (options?.signal?.aborted !== true) continue;
        const map = nextSession++;
        maps.set(map, done);
        return { layers: [], cancelled: true, map };
      }
      const shares = new Float32Array(length).fill(1);
      return { layers: [{ name: "layers.0.ssm", shares }], cancelled: false, map: null };
    },
    async dropMap({ map }) {
      maps.delete(map);
      return null;
    },
    async snapshot(input) {
      const body = JSON.stringify({
        modelHash,
        tokenizerHash: input.tokenizerHash,
        ids: session(input.session),
      });
      const checksum = createHash("sha256").update(body).digest();
      const bytes = new Uint8Array(Buffer.concat([Buffer.from(body), checksum]));
      return { bytes, headBytes: bytes.length, pageBytes: 0, pageHashes: new Uint8Array() };
    },
    async restore(input) {
      const body = Buffer.from(input.bytes.subarray(0, -32));
      if (!createHash("sha256").update(body).digest().equals(input.bytes.subarray(-32)))
        throw new FakeEngineError("state", "checksum");
      const state: {
        readonly modelHash: string;
        readonly tokenizerHash: string;
        readonly ids: number[];
      } = JSON.parse(body.toString());
      if (state.modelHash !== modelHash || state.tokenizerHash !== input.tokenizerHash)
        throw new FakeEngineError("state", "foreign");
      return { session: open(state.ids), position: state.ids.length };
    },
    memory: async () => ({ weights: 1, states: sessions.size, workspace: 0 }),
    profile: async () => ({ rows: null, bytesPerSecond: null }),
    devices: async () => ({ devices: [], notes: [] }),
  };

  async function call<M extends EngineMethod>(
    method: M,
    input: EngineMethods[M]["in"],
    options?: CallOptions,
  ): Promise<EngineMethods[M]["out"]> {
    const failure = fake.failNext;
    if (failure?.method === method) {
      fake.failNext = null;
      throw new FakeEngineError(failure.code, `scripted ${failure.code}`);
    }
    return methods[method](input, options);
  }
  return fake;
}
