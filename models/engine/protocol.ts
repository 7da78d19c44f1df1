/**
 * The messages between an engine client (main/engine/client.ts) and the engine worker (worker.ts), over any message
 * port with structured clone. Token ids only: text never crosses this border. Every request has an `id`; it is
 * answered by exactly one `done` or `failed`, and any number of `event`s before that.
 */
import type { BackendName, DeviceInfo } from "../../kernels/spec/backend.ts";
import type { Precision } from "../../kernels/spec/op.ts";
import type { KernelTime } from "../../kernels/spec/profile.ts";
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

export type { KernelTime, KvDtype, Precision, SamplerHints, SamplerOptions };
export { CHOICE_VERSION } from "../../kernels/spec/choice.ts";
export { isGreedy } from "../generate/sampler.ts";

export type BackendChoice = BackendName | "auto";

/** What is known of a loaded model. */
export interface ModelInfo {
  /** SHA-256 (hex) over the model's weights and configuration: the identity that states are bound to. */
  readonly modelHash: string;
  /** Numeric versions whose states are continued, the one that is written first. */
  readonly numericVersions: readonly number[];
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
  /**
   * Feeds ids[i] to sessions[i], in batches where pieces are of one length. Each session gets what a `prefill` of its
   * own would give it. Events: progress, over the tokens of all.
   */
  prefillMany: {
    in: {
      /** Different ones. */
      readonly sessions: readonly SessionId[];
      readonly ids: readonly Int32Array[];
      /** Tokens a chunk; null is the engine's own choice. */
      readonly chunk: number | null;
    };
    out: {
      /** Of each session; after a cancel they may stand at different chunks. */
      readonly positions: readonly number[];
      /** Tokens that were run, of all together. */
      readonly prefilled: number;
      readonly cancelled: boolean;
    };
  };
  /**
   * `generate` for several sessions in one pass over the weights a token. A session that has met a stop id leaves the
   * batch, its state right behind that id; the others go on. Events: token, with the index of its session as `branch`.
   */
  generateMany: {
    in: {
      /** Different ones. */
      readonly sessions: readonly SessionId[];
      /** One a session. */
      readonly samplers: readonly SamplerOptions[];
      readonly stopIds: readonly number[];
      readonly maxTokens: number;
      /** To the end of the request, however few sessions are left; null: "int8" for 8 sessions and more. */
      readonly activations: Precision | null;
    };
    out: {
      /** What was taken. */
      readonly activations: Precision;
      /** One a session. */
      readonly branches: readonly {
        readonly ids: Int32Array;
        readonly reason: "stop" | "length" | "cancelled";
        readonly position: number;
        /** The natural logarithm of each id's probability: softmax of the logits, temperature 1, no penalties. */
        readonly logProbs: Float32Array;
      }[];
      readonly decodeMs: number;
    };
  };
  /**
   * The natural logarithm of each id's probability, were they to come next; the session stays where it is. After a
   * cancel, of fewer ids. Events: progress.
   */
  score: {
    in: { readonly session: SessionId; readonly ids: Int32Array };
    out: { readonly logProbs: Float32Array; readonly cancelled: boolean };
  };
  /** `score` of ids[i] after sessions[i], which may be the same one, in batches. */
  scoreMany: {
    in: { readonly sessions: readonly SessionId[]; readonly ids: readonly Int32Array[] };
    out: { readonly logProbs: readonly Float32Array[]; readonly cancelled: boolean };
  };
  /**
   * How much of what each token wrote the model still holds behind the last one: for each recurrence the norm of the
   * token's part of the state, as a share of what it wrote. Runs beside the sessions. Events: progress, over the tokens of
   * both ways through the sequence. A cancel keeps what was done, until it is gone on with or dropped.
   */
  memoryMap: {
    in: {
      /** The whole sequence, from its beginning; not looked at where a map is gone on with. */
      readonly ids: Int32Array;
      /** One that was cancelled, to go on with; null begins. */
      readonly map: number | null;
    };
    out: {
      /** To go on with after a cancel; else null. */
      readonly map: number | null;
      /** In the model's order; [] after a cancel. */
      readonly layers: readonly {
        /** The state slot's: "layers.3.ssm". */
        readonly name: string;
        /** (T), in 0 … 1. */
        readonly shares: Float32Array;
      }[];
      readonly cancelled: boolean;
    };
  };
  /** Gives up a memory map that was cancelled, with the memory that it holds. */
  dropMap: { in: { readonly map: number }; out: null };
  /**
   * The sequence as bytes (models/state/snapshot.ts): a head of header, states, last logits and checksum, then pages of
   * what grew.
   */
  snapshot: {
    in: {
      readonly session: SessionId;
      readonly tokenizerHash: string;
      /**
       * `all`: the whole, portable as it is. `new`: without the pages that an earlier snapshot of this session gave, or that
       * it was restored from, so that a long sequence is not copied out whole each time.
       */
      readonly pages: "all" | "new";
    };
    out: {
      readonly bytes: Uint8Array;
      readonly headBytes: number;
      /** Of each page; 0 where nothing grows. */
      readonly pageBytes: number;
      /** SHA-256 of every page of the sequence, 32 bytes each; the last of them are those in `bytes`. */
      readonly pageHashes: Uint8Array;
    };
  };
  /** Bytes of a snapshot with all its pages. Refused with StateError unless model, tokenizer, numeric version and checksums all match. */
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
  /**
   * Times every kernel from now on, or no longer; gives what was measured since the last call. `rows` is null where the
   * backend has no clock for its kernels.
   */
  profile: {
    in: { readonly on: boolean };
    out: {
      readonly rows: readonly KernelTime[] | null;
      /** What the device's memory copies, read and written bytes together, measured at the end of a profile; else null. */
      readonly bytesPerSecond: number | null;
    };
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
  | {
      readonly type: "token";
      readonly token: number;
      readonly index: number;
      /** Which of `generateMany`'s sessions; 0 from `generate`. */
      readonly branch: number;
    };

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
