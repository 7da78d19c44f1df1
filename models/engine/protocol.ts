/**
 * The messages between an engine client (main/engine/client.ts) and the engine worker (worker.ts), over any message
 * port with structured clone. Token ids only: text never crosses this border. Every request has an `id`; it is
 * answered by exactly one `done` or `failed`, and any number of `event`s before that.
 */
import type { BackendName, DeviceInfo } from "../../kernels/spec/backend.ts";
import type { SamplerOptions } from "../generate/sampler.ts";
import type { KvDtype } from "../state/layer-state.ts";
import type { Fidelity } from "../weights/blocks/exact-q8.ts";
import type { SamplerHints } from "../weights/sampler-hints.ts";

export type SessionId = number;

/** A model as files that the host can open; `open` is whatever the host's file opener understands (a path, a URL). */
export interface ModelFile {
  /** File name inside the model folder: "config.json", "model.safetensors", "x.gguf". */
  readonly name: string;
  readonly open: string;
  readonly bytes: number;
}

export type { KvDtype, SamplerHints, SamplerOptions };

export type BackendChoice = BackendName | "auto";

/** What is known of a loaded model. */
export interface ModelInfo {
  /** SHA-256 (hex) over the model's weights and configuration: the identity that states are bound to. */
  readonly modelHash: string;
  readonly modelType: string;
  readonly name: string;
  readonly nLayer: number;
  readonly dModel: number;
  readonly vocabSize: number;
  readonly parameters: number;
  /** Bytes of one sequence's state before its first token, f32. */
  readonly stateBytes: number;
  /** Bytes that each token adds: attention's keys and values. 0 where the state is constant. */
  readonly stateBytesPerToken: number;
  readonly weightBytes: number;
  /** The dtypes of the matrices, with counts: { q8_0: 25 }. */
  readonly dtypes: Readonly<Record<string, number>>;
  /** Token ids that end a turn, from the model's configuration. */
  readonly stopIds: readonly number[];
  /** How the model's authors would have it sampled. */
  readonly samplerHints: SamplerHints;
  readonly device: DeviceInfo;
  /** Sentences for the user, for example why a backend was left for the next one. */
  readonly notices: readonly string[];
  readonly loadMs: number;
}

/** What a model's headers tell, without its weights. */
export interface ModelInspection {
  readonly name: string;
  readonly format: "safetensors" | "gguf";
  /** As the file spells it; "" where it does not say. */
  readonly modelType: string;
  /** How the model's authors would have it sampled. */
  readonly samplerHints: SamplerHints;
  /** Sentences for the user about what the files say and is not followed. */
  readonly notices: readonly string[];
  /** Every tensor as it is stored. */
  readonly tensors: readonly {
    readonly name: string;
    readonly dtype: string;
    readonly shape: readonly number[];
    readonly bytes: number;
  }[];
  /** How it would run; null where it cannot, and `reason` says why. */
  readonly runs: {
    readonly nLayer: number;
    readonly dModel: number;
    readonly vocabSize: number;
    readonly parameters: number;
    readonly weightBytes: number;
    readonly dtypes: Readonly<Record<string, number>>;
    /** Tensors that become another type than the file's in memory. */
    readonly repacked: readonly {
      readonly tensor: string;
      readonly from: string;
      readonly to: string;
      /** Whether that rounds them. */
      readonly values: Fidelity;
    }[];
    /** Bytes of one sequence's state before its first token, f32. */
    readonly stateBytes: number;
    /** Bytes that each token adds, with keys and values in f32. 0 where the state is constant. */
    readonly stateBytesPerToken: number;
    /** Bytes of weights and state that decoding one token reads and writes; of a state that grows the constant part. */
    readonly bytesPerToken: number;
  } | null;
  readonly reason: string | null;
}

/** Requests by method: what goes in, and what `done` brings back. */
export interface EngineMethods {
  load: {
    in: {
      readonly files: readonly ModelFile[];
      readonly backend: BackendChoice;
      /** Matrices of a safetensors model become q8_0 on load where their width allows. */
      readonly quantise: "q8_0" | null;
      /** How attention's keys and values are kept. */
      readonly kvDtype: KvDtype;
      readonly threads: number | null;
    };
    out: ModelInfo;
  };
  /** Reads headers only; what is loaded stays loaded. */
  inspect: { in: { readonly files: readonly ModelFile[] }; out: ModelInspection };
  unload: { in: Record<string, never>; out: null };
  /** A new sequence at position 0. */
  create: { in: Record<string, never>; out: { session: SessionId } };
  free: { in: { readonly session: SessionId }; out: null };
  /** A second sequence in the same state; nothing is recomputed. */
  fork: { in: { readonly session: SessionId }; out: { session: SessionId } };
  /** Runs prompt tokens. Events: progress. */
  prefill: {
    in: {
      readonly session: SessionId;
      readonly ids: Int32Array;
      /** Tokens a chunk; null is the engine's own choice. */
      readonly chunk: number | null;
      /** Logits to bring back: of no row, of the last one, or of all, (T, vocab). */
      readonly logits: "none" | "last" | "all";
    };
    out: {
      readonly position: number;
      readonly logits: Float32Array | null;
      readonly cancelled: boolean;
      readonly prefilled: number;
    };
  };
  /**
   * Samples from the last logits, feeds the token, and so on. Events: token, when it has been sampled.
   * Every token in `ids` has been fed, a stop id too, so that the state is right behind them.
   */
  generate: {
    in: {
      readonly session: SessionId;
      readonly sampler: SamplerOptions;
      readonly stopIds: readonly number[];
      readonly maxTokens: number;
      /** Also bring back the logits after each token, (n, vocab): for tests and `tarn logits`. */
      readonly keepLogits: boolean;
    };
    out: {
      readonly ids: Int32Array;
      readonly reason: "stop" | "length" | "cancelled";
      readonly position: number;
      readonly logits: Float32Array | null;
      readonly decodeMs: number;
    };
  };
  /** The sequence as bytes (models/state/snapshot.ts): header, states, last logits, checksum. */
  snapshot: {
    in: { readonly session: SessionId; readonly tokenizerHash: string };
    out: { readonly bytes: Uint8Array };
  };
  /** Refused with StateError unless model, tokenizer, numeric version and checksum all match. */
  restore: {
    in: {
      readonly bytes: Uint8Array;
      readonly tokenizerHash: string;
      /** The last ids behind the state, oldest first: only the repetition penalty looks at them. [] where they are not known. */
      readonly recent: Int32Array;
    };
    out: { readonly session: SessionId; readonly position: number };
  };
  /** Bytes held now, for the status line and `bench`. */
  memory: {
    in: Record<string, never>;
    out: { readonly weights: number; readonly states: number; readonly workspace: number };
  };
  /** What could run here, without loading a model: for `tarn doctor`. */
  devices: {
    in: Record<string, never>;
    out: { readonly devices: readonly DeviceInfo[]; readonly notes: readonly string[] };
  };
}
export type EngineMethod = keyof EngineMethods;

export type EngineRequest =
  | {
      [M in EngineMethod]: {
        readonly id: number;
        readonly method: M;
        readonly input: EngineMethods[M]["in"];
      };
    }[EngineMethod]
  /** Takes effect within one chunk or token; the cancelled request still gets its `done` with what was completed. */
  | { readonly id: number; readonly method: "cancel"; readonly input: { readonly target: number } };

export type EngineEvent =
  | { readonly type: "progress"; readonly done: number; readonly total: number }
  | { readonly type: "token"; readonly token: number; readonly index: number };

export type EngineErrorCode =
  | "weights"
  | "unknown-architecture"
  | "state"
  | "kernel"
  | "out-of-memory"
  | "device-lost"
  | "no-backend"
  | "self-test"
  | "no-model"
  | "no-session"
  | "bad-request"
  | "internal";

/** Errors cross the port as data. */
export interface EngineFailure {
  readonly code: EngineErrorCode;
  readonly message: string;
  readonly data: Readonly<Record<string, string | number>>;
}

export type EngineReply =
  | { readonly id: number; readonly kind: "done"; readonly output: unknown }
  | { readonly id: number; readonly kind: "failed"; readonly error: EngineFailure }
  | { readonly id: number; readonly kind: "event"; readonly event: EngineEvent };
