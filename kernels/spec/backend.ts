import type { Plan } from "./op.ts";
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
  release(): void;
}

/** One way to compute. Everything that differs between WebGPU, WASM and the reference is behind this. */
export interface Backend {
  readonly name: BackendName;
  readonly device: DeviceInfo;
  /** Reads the rows by ranges into their final place: never more than a bounded piece in host memory at a time. */
  uploadWeight(spec: WeightSpec, read: ReadRows): Promise<Weight>;
  compile(plan: Plan): Promise<Executable>;
  /** Zeroed. */
  createState(layout: StateLayout, batch: number): StateBuffers;
  /** One fresh array a slot, for sequence `sequence` of the batch; of a slot that grows (position, slotSize). */
  readState(state: StateBuffers, sequence: number): Promise<Float32Array[]>;
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
