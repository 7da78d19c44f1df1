import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateLayout } from "../../kernels/spec/tensor.ts";
import { WeightsError } from "../weights/errors.ts";
import type { GgufMetadata } from "../weights/gguf-metadata.ts";
import type { JsonObject } from "../weights/json.ts";
import type { TensorSource } from "../weights/source.ts";
import type { ConfigFields } from "./config-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

/** Which logits a run gives: none, (B, vocabSize) of the last tokens, or (B * T, vocabSize) of all. */
export type LogitsWanted = "none" | "last" | "all";

export interface RunOptions {
  readonly logits: LogitsWanted;
  /**
   * Prompt tokens or a generated one. Not the same as T > 1: a prompt may come in pieces of one token, and Mamba-2
   * limits dt in prompts only.
   */
  readonly phase: "prefill" | "decode";
}

/** Records one run of B × T tokens. Unless `logits` is "none", they are the plan's only output. */
export type RecordRun = (k: Recorder, options: RunOptions) => void;

/** A model: an architecture whose dimensions are known and whose weights are not yet there. */
export interface Model {
  /** As config.json spells it. */
  readonly modelType: string;
  readonly nLayer: number;
  readonly dModel: number;
  readonly vocabSize: number;
  /** The recurrent state of one sequence. */
  readonly layout: StateLayout;
  /** How llama.cpp describes this model; missing where llama.cpp runs no such model. */
  readonly gguf?: GgufDescription;
  /**
   * Asks the loader for every weight, tied ones once, and returns what records a run over them. Whatever the file's
   * format the order and the shapes of the calls are the same, so that a file can be rewritten in the other format.
   * With a checking loader nothing is read but headers, and the result must not be used.
   * @throws WeightsError `missing`, `mismatch`
   */
  load(loader: WeightLoader): Promise<RecordRun>;
}

/** The metadata of a GGUF file that make llama.cpp's model of the same dimensions. */
export interface GgufDescription {
  /** `general.architecture`. */
  readonly architecture: string;
  /** The fields `<architecture>.…`, without that prefix: { block_count: 24 }. Whole numbers become u32, others f32. */
  readonly fields: Readonly<Record<string, number | boolean | string | readonly number[]>>;
  /**
   * Shapes (slowest first) that are not (rows, cols), or (cols) for a table of one row, by the name behind "blk.0.":
   * { ssm_a: [nHead, 1] }. Experts ("…_exps.weight") are (expert_count, R, K) without being named.
   */
  readonly shapes?: Readonly<Record<string, readonly number[]>>;
  /** Matrices that llama.cpp has multiplied already: by a number, or each row by its own. Names without `blk.i.`. */
  readonly factors?: Readonly<Record<string, number | readonly number[]>>;
  /** Tensors that llama.cpp asks for and nothing here loads: each name's values are another's. */
  readonly copies?: Readonly<Record<string, string>>;
}

/** How a model's configuration is understood: one object in one file for each `model_type`. */
export interface Architecture {
  /** @throws WeightsError for a field that is missing, malformed, or asks for what is not supported */
  fromConfig(json: JsonObject): Model;
  /** @throws WeightsError, as above */
  fromGguf(metadata: GgufMetadata, tensors: TensorSource): Model;
}

/** Ten times any model; a configuration is believed before its weights are seen, and the state layout has slots a layer. */
export const MAX_LAYERS = 1024;

/** @throws WeightsError `malformed` if the dimensions of a configuration contradict each other */
export function requireGeometry(holds: boolean, reason: string): void {
  if (!holds)
    throw new WeightsError("malformed", {
      file: "model configuration",
      reason: `its dimensions do not fit together: ${reason}`,
    });
}

/**
 * The number of layers, before anything is made for each.
 * @throws WeightsError `malformed`
 */
export function requireLayers(nLayer: number): number {
  requireGeometry(nLayer <= MAX_LAYERS, `${nLayer} layers`);
  return nLayer;
}

/** @throws WeightsError `unsupported` for a `hidden_act` other than silu */
export function requireSilu(config: ConfigFields): void {
  const activation = config.string(["hidden_act"], "silu");
  // "swish" is the library's other name for it.
  if (activation !== "silu" && activation !== "swish") {
    throw new WeightsError("unsupported", {
      file: config.file,
      reason: "its activation is not supported",
      expected: "silu",
      actual: activation,
    });
  }
}

/** What reads the GGUF files of an architecture that llama.cpp does not have. */
export function noGguf(modelType: string): Architecture["fromGguf"] {
  return () => {
    throw new WeightsError("unsupported", {
      file: "GGUF metadata",
      reason: `there is no agreed form of "${modelType}" models in GGUF files`,
      expected: "a folder with config.json and model.safetensors",
    });
  };
}
