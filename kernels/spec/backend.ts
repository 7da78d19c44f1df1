import type { SequenceChoice } from "./choice.ts";
import type { Plan } from "./op.ts";
import type { KernelTime } from "./profile.ts";
import type { ReadRows, StateLayout, Weight, WeightSpec } from "./tensor.ts";

export type BackendName = "webgpu" | "wasm" | "reference";

/** What `tarn doctor` and the status line show of a backend. */
export interface DeviceInfo {
  readonly backend: BackendName;
  /** For people: "NVIDIA H100", "SwiftShader", "2 threads, relaxed SIMD". */
  readonly name: string;
  /** True for a CPU that plays a GPU (SwiftShader, llvmpipe, isFallbackAdapter). */
  readonly software: boolean;
  /** Features in use, for example "subgroups", "relaxed-simd". */
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
}

/**
 * The recurrent states of B sequences on a backend: one (B, slotSize) f32 array a slot; of a slot that grows, one row of
 * slotSize values for each token that was fed, in memory that is added as it is needed.
 * Owned by whoever called `createState`; `release` frees it.
 */
export interface StateBuffers {
  readonly batch: number;
  readonly layout: StateLayout;
  /** (B): tokens that each sequence was fed. A run reads them as the positions of its first tokens, and adds T to each. */
  readonly positions: Int32Array;
  release(): void;
}

/** How far `Executable.runAhead` may go, and which way. */
export interface AheadLimits {
  /** Runs at most, from 1. */
  readonly steps: number;
  readonly stopIds: readonly number[];
  /** (B): by what each sequence's next ids are chosen; null: each is the first of the largest logits. */
  readonly choices: readonly SequenceChoice[] | null;
}

/** Runs that `Executable.runAhead` has made. */
export interface FedRuns {
  /** (n, B): the ids that they were fed. */
  readonly fed: Int32Array;
  /** (n, B): behind each run, the natural logarithm of the probability, by the logits alone, of the next id, in f32. */
  readonly logProbs: Float32Array;
}

/**
 * A plan made ready. Runs of one backend happen in the order of the calls; `run` must not be called again
 * before the promise of the run before has settled.
 */
export interface Executable {
  readonly plan: Plan;
  /**
   * Executes the plan once. `ids` is (B, T); `state` is read and updated in place, its positions too.
   * Resolves with the outputs (fresh arrays, owned by the caller), or with [] if `readback` is false.
   * @throws KernelError `shape` where ids or state are not the plan's; `device-lost`, `out-of-memory`
   */
  run(ids: Int32Array, state: StateBuffers, readback: boolean): Promise<Float32Array[]>;
  /**
   * Runs a plan of one token (T = 1) with one output, the logits, up to `steps` times without a way through host memory
   * in between: each run's ids are chosen from the logits of the run before, `first` is (B). Ends right behind a run that
   * fed one of `stopIds`, and where the logits have no largest. `onFed` hears of the runs in their order, some at
   * a time, while the device goes on; where it says false all ends right behind these. Other work on the backend waits
   * until the end. Absent where nothing would be won.
   * @returns the outputs of the last run
   * @throws KernelError as `run`; whatever `onFed` throws
   */
  runAhead?(
    first: Int32Array,
    state: StateBuffers,
    limits: AheadLimits,
    onFed: (runs: FedRuns) => boolean | Promise<boolean>,
  ): Promise<Float32Array[]>;
  /** Whether `runAhead` takes choices; where it does not, their place is null. */
  readonly takesChoices?: boolean;
  release(): void;
}

/** One way to compute. Everything that differs between WebGPU, WASM and the reference is behind this. */
export interface Backend {
  readonly name: BackendName;
  readonly device: DeviceInfo;
  /** Reads the rows by ranges into their final place: never more than a bounded piece in host memory at a time. */
  uploadWeight(spec: WeightSpec, read: ReadRows): Promise<Weight>;
  /**
   * The (rows · cols) values of a weight of use `vector`, for looking into a model; never called in the loop.
   * @throws KernelError `dtype` for a matrix, `backend` for a weight of another backend
   */
  readVector(weight: Weight): Promise<Float32Array>;
  compile(plan: Plan): Promise<Executable>;
  /** Zeroed. */
  createState(layout: StateLayout, batch: number): StateBuffers;
  /**
   * One fresh array a slot, for sequence `sequence` of the batch; of a slot that grows the rows of the tokens from `from` on
   * (0 if left out), (position - from, slotSize).
   * @throws KernelError `shape`
   */
  readState(state: StateBuffers, sequence: number, from?: number): Promise<Float32Array[]>;
  /**
   * Puts one sequence where `values` stood, after `position` tokens.
   * @throws KernelError `shape`
   */
  writeState(
    state: StateBuffers,
    sequence: number,
    values: readonly Float32Array[],
    position: number,
  ): Promise<void>;
  /**
   * Makes a sequence what a sequence of another state is, without a way through host memory where the backend has one
   * of its own. The two states are different ones of one layout; each keeps its memory.
   * @throws KernelError `shape`, `out-of-memory` before anything is changed; `device-lost`
   */
  copyState(
    from: StateBuffers,
    fromSequence: number,
    to: StateBuffers,
    toSequence: number,
  ): Promise<void>;
  /**
   * Times every kernel from now on (runs get slower), or no longer; gives what was measured since the last call.
   * Absent where there is no clock.
   * @throws KernelError `unsupported`
   */
  profile?(on: boolean): readonly KernelTime[];
  /** Bytes a second that the device's memory copies, read and written ones together, measured now. Absent where nobody can tell. */
  copyBandwidth?(): Promise<number>;
  /** Bytes of weights, states and workspace that this backend holds now. */
  memory(): { readonly weights: number; readonly states: number; readonly workspace: number };
  /** Frees everything; the backend must not be used afterwards. */
  release(): Promise<void>;
}

/** A thread that a backend may use; the host says how one is made (Node worker, Web Worker). */
export interface ThreadPort {
  postMessage(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  onMessage(listener: (message: unknown) => void): void;
  /** A failure of the thread itself (it could not start, or died). */
  onError(listener: (error: Error) => void): void;
  terminate(): void;
}
