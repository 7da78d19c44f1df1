/** The fields of configurations that describe a Mamba-2 mixer, as several hybrids spell them. */
import type { Activation } from "../../../kernels/spec/activations.ts";
import type { TensorSource } from "../../weights/source.ts";
import { requireGeometry, type GgufDescription } from "../architecture.ts";
import type { ConfigFields } from "../config-fields.ts";
import type { GgufFields } from "../gguf-fields.ts";
import { dInnerOf, type Mamba2MixerShape } from "./mamba2-mixer.ts";

/**
 * The fields `mamba_…` of Bamba and of the models after it; the norm is over all columns.
 * @throws WeightsError `missing`, `malformed`
 */
export function readMamba2Fields(
  config: ConfigFields,
  c: { readonly dModel: number; readonly eps: number; readonly act: Activation },
): Mamba2MixerShape {
  const { dModel, eps, act } = c;
  const nHead = config.count(["mamba_n_heads"], 128);
  const dInner = Math.trunc(config.positive(["mamba_expand"], 2) * dModel);
  const headDim =
    !config.has("mamba_d_head") || config.is("mamba_d_head", "auto")
      ? Math.floor(dInner / nHead)
      : config.count(["mamba_d_head"]);
  requireGeometry(
    nHead * headDim === dInner,
    `mamba_expand · hidden_size is ${dInner}, but mamba_n_heads · mamba_d_head is ${nHead * headDim}`,
  );
  return {
    dModel,
    nHead,
    headDim,
    nGroup: config.count(["mamba_n_groups"], 1),
    dState: config.count(["mamba_d_state"], 256),
    dConv: config.count(["mamba_d_conv"], 4),
    chunkSize: config.count(["mamba_chunk_size"], 256),
    projectionBias: config.boolean(["mamba_proj_bias"], false),
    convBias: config.boolean(["mamba_conv_bias"], true),
    act,
    dtLimit: config.range(["time_step_limit"], [0, Infinity]),
    output: "gate-norm",
    normEps: eps,
    normGroupSize: dInner,
  };
}

/** Q where the file does not name one. Any Q gives the same numbers; this one suits the matrix products. */
const DEFAULT_CHUNK_SIZE = 64;

/**
 * The fields `ssm.…` of a GGUF file; the norm is over a group's columns.
 * @param at what stands before the names of a layer that has a mixer
 * @throws WeightsError `missing`, `malformed`
 */
export function readGgufMamba2Fields(
  config: GgufFields,
  tensors: TensorSource,
  c: { readonly dModel: number; readonly eps: number; readonly at: string },
): Mamba2MixerShape {
  const { dModel, eps, at } = c;
  const dInner = config.count("ssm.inner_size");
  // llama.cpp keeps the number of heads in this field.
  const nHead = config.count("ssm.time_step_rank");
  const nGroup = config.count("ssm.group_count");
  return {
    dModel,
    nHead,
    headDim: dInner / nHead,
    nGroup,
    dState: config.count("ssm.state_size"),
    dConv: config.count("ssm.conv_kernel"),
    chunkSize: DEFAULT_CHUNK_SIZE,
    projectionBias: tensors.has(`${at}ssm_in.bias`),
    convBias: tensors.has(`${at}ssm_conv1d.bias`),
    act: "silu",
    dtLimit: [0, Infinity],
    output: "gate-norm",
    normEps: eps,
    normGroupSize: dInner / nGroup,
  };
}

/** Whether llama.cpp's Mamba-2 computes the same: its norm is a group's, only its convolution has a bias, its dt has no limits. */
export function ggufKnowsMamba2Mixer(c: Mamba2MixerShape): boolean {
  const [dtMin, dtMax] = c.dtLimit;
  return (
    c.output === "gate-norm" &&
    c.normGroupSize === dInnerOf(c) / c.nGroup &&
    !c.projectionBias &&
    c.convBias &&
    c.act === "silu" &&
    dtMin <= 0 &&
    dtMax === Infinity
  );
}

/** The fields `ssm.…` of a GGUF file. */
export function ggufMamba2Fields(c: Mamba2MixerShape): Readonly<Record<string, number>> {
  return {
    "ssm.conv_kernel": c.dConv,
    "ssm.inner_size": dInnerOf(c),
    "ssm.state_size": c.dState,
    "ssm.group_count": c.nGroup,
    // llama.cpp keeps the number of heads in this field.
    "ssm.time_step_rank": c.nHead,
  };
}

/** The shapes of a mixer's tables in a GGUF file, for `GgufDescription.shapes`. */
export function ggufMamba2Shapes(c: Mamba2MixerShape): NonNullable<GgufDescription["shapes"]> {
  return {
    ssm_a: [c.nHead, 1],
    ssm_d: [c.nHead, 1],
    "ssm_norm.weight": [c.nGroup, dInnerOf(c) / c.nGroup],
  };
}
