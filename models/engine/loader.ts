import type { Backend, DeviceInfo } from "../../kernels/spec/backend.ts";
import type { StateLayout } from "../../kernels/spec/tensor.ts";
import type { Model, RecordRun } from "../arch/architecture.ts";
import {
  CONTINUED_VERSIONS,
  growthBytes,
  NUMERIC_VERSION,
  stateBytes,
  withKvDtype,
} from "../state/layer-state.ts";
import { chooseCandidates, type BackendCandidate, type BackendOptions } from "./backends.ts";
import { EngineFault, toFailure } from "./failure.ts";
import type { EngineHost } from "./host.ts";
import { checkModel, uploadModel } from "./load-weights.ts";
import { openFiles } from "./inspect.ts";
import { createPlanCache, type PlanCache } from "./plans.ts";
import type { BackendChoice, EngineMethods, ModelInfo, SessionId } from "./protocol.ts";
import { runSelfTest } from "./self-test/self-test.ts";
import { createSessionTable, type SessionTable } from "./sessions.ts";

/** A model on a backend, and everything that ends with it. */
export interface LoadedModel {
  readonly info: ModelInfo;
  readonly model: Model;
  /** The model's, with keys and values as the load option says. */
  readonly layout: StateLayout;
  readonly vocabSize: number;
  readonly backend: Backend;
  /** Records a run over the weights that were uploaded. */
  readonly record: RecordRun;
  readonly plans: PlanCache;
  readonly sessions: SessionTable;
  /** Tokens a chunk of prefill. */
  readonly chunk: number;
  /** Tokens of a run that leaves something of each of them on the device: logits, what a map is made of. */
  readonly rowsAtOnce: number;
  release(): Promise<void>;
}

/** With 50,000 words their logits are 100 MB. */
const MOST_ROWS = 512;

/** Parameters from which a chunk of the largest size keeps even a large GPU busy for a good part of a second. */
const LARGE_MODEL = 4e9;

/**
 * Tokens of a chunk of prefill: constant, so that a plan serves every chunk but the last, the workspace has a bound, and the
 * same tokens give the same bits. A GPU wants more rows than two cores do, one with matrix units even more: an H100 reads
 * mamba2-130m at 47,000 tokens/s by 512 and at 102,000 by 2048. A model that is large for the GPU gets smaller ones:
 * a cancel waits for a chunk, and drivers end work that takes seconds.
 */
function prefillChunk({ backend, software, features }: DeviceInfo, parameters: number): number {
  if (backend !== "webgpu" || software) return 128;
  if (!features.includes("f16-products")) return 512;
  return parameters < LARGE_MODEL ? 2048 : 1024;
}

/** Backends and devices that have passed the self-test in this worker. */
export type Passed = Set<string>;

/**
 * Opens the files, starts the first backend that works, and loads.
 * @throws WeightsError, UnknownArchitectureError, KernelError, EngineFault `no-backend`, `self-test`
 */
export async function loadModel(
  host: EngineHost,
  candidates: readonly BackendCandidate[],
  passed: Passed,
  { files, backend: choice, quantise, kvDtype, threads }: EngineMethods["load"]["in"],
  allocateId: () => SessionId,
): Promise<LoadedModel> {
  const start = performance.now();
  const opened = await openFiles(host, files);
  let backend: Backend | null = null;
  try {
    const { model, totals } = await checkModel(opened, { quantise });
    const notices = [...opened.notices];
    // Hashed while threads and device come up: of a small model either takes as long as the other.
    const hashed = opened.identity(quantise);
    // Awaited below; a failure must not count as unhandled until then.
    hashed.catch(() => undefined);
    backend = await startBackend(candidates, choice, threads, passed, notices);
    const modelHash = await hashed;
    const record = await uploadModel(model, opened, { quantise }, backend);
    const layout = withKvDtype(model.layout, kvDtype);
    const plans = createPlanCache(backend, layout, record);
    const sessions = createSessionTable(backend, layout, allocateId);
    const started = backend;
    const chunk = prefillChunk(backend.device, totals.parameters);
    return {
      model,
      layout,
      vocabSize: model.vocabSize,
      backend,
      record,
      plans,
      sessions,
      chunk,
      rowsAtOnce: Math.min(chunk, MOST_ROWS),
      info: {
        modelHash,
        numericVersions: [...new Set([NUMERIC_VERSION, ...CONTINUED_VERSIONS])],
        modelType: model.modelType,
        name: opened.name,
        nLayer: model.nLayer,
        dModel: model.dModel,
        vocabSize: model.vocabSize,
        parameters: totals.parameters,
        stateBytes: stateBytes(layout),
        stateBytesPerToken: growthBytes(layout),
        weightBytes: totals.bytes,
        dtypes: totals.dtypes,
        stopIds: opened.stopIds,
        samplerHints: opened.samplerHints,
        device: backend.device,
        notices,
        loadMs: performance.now() - start,
      },
      async release() {
        plans.release();
        sessions.release();
        await started.release();
      },
    };
  } catch (error) {
    await backend?.release();
    throw error;
  } finally {
    await opened.close();
  }
}

/**
 * The first candidate that starts and computes rightly. With "auto" a notice says why one was left for the next;
 * one that was asked for by name fails instead.
 */
async function startBackend(
  candidates: readonly BackendCandidate[],
  choice: BackendChoice,
  threads: number | null,
  passed: Passed,
  notices: string[],
): Promise<Backend> {
  const options: BackendOptions = { threads, allowSoftware: choice !== "auto" };
  const reasons: string[] = [];
  for (const candidate of chooseCandidates(candidates, choice)) {
    try {
      return await startTested(candidate, options, passed);
    } catch (error) {
      const { code, message, data } = toFailure(error);
      if (choice !== "auto")
        throw new EngineFault(code, `The backend "${candidate.name}" cannot be used: ${message}`, {
          ...data,
          backend: candidate.name,
        });
      reasons.push(`${candidate.name}: ${message}`);
      // That there is no GPU is no news; that one is there and cannot be used is.
      if (code !== "no-backend")
        notices.push(`The backend "${candidate.name}" was left for the next one: ${message}`);
    }
  }
  throw new EngineFault("no-backend", `No backend works on this machine (${reasons.join("; ")}).`);
}

/** The model then runs on the backend that was tested: what was compiled for the test serves it too. */
async function startTested(
  candidate: BackendCandidate,
  options: BackendOptions,
  passed: Passed,
): Promise<Backend> {
  const backend = await candidate.create(options);
  const key = `${candidate.name} ${backend.device.name} ${backend.device.features.join(" ")}`;
  if (passed.has(key)) return backend;
  try {
    await runSelfTest(backend);
  } catch (error) {
    await backend.release();
    throw error;
  }
  passed.add(key);
  return backend;
}
