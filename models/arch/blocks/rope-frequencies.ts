/**
 * Rotary frequencies as configurations describe them. Sources: RoFormer (arXiv:2104.09864) §3.2.2; YaRN
 * (arXiv:2309.00071) §3.2, 3.4; LongRoPE (arXiv:2402.13753); transformers `modeling_rope_utils.py`, whose f32 steps are
 * kept: at position 10⁴ the rounding of a frequency is a rounding of the angle in its fourth digit.
 */
import { requireGeometry } from "../architecture.ts";
import type { ConfigFields } from "../config-fields.ts";
import type { GgufFields } from "../gguf-fields.ts";

/** What `rope` needs to know. */
export interface Rotation {
  /** Radians a position, for each pair of columns. */
  readonly frequencies: Float32Array<ArrayBuffer>;
  /** Multiplies sine and cosine. */
  readonly scale: number;
  /** The fields `rope.…` by which llama.cpp makes the same; left out where there are none. */
  readonly gguf?: Readonly<Record<string, number | string>>;
}

/** What an architecture knows of its rotation besides the configuration's fields. */
export interface RotationDefaults {
  readonly headDim: number;
  /** The part of a head that turns where the file does not say; null: always all of it, whatever the file says. */
  readonly partial: number | null;
  /** Where the file does not say; 10000 if left out. */
  readonly theta?: number;
  /** `max_position_embeddings` where the file does not say. */
  readonly maxPositions: number;
  /** The layer type that is asked about, where each has its own parameters; "full_attention" if left out. */
  readonly layerType?: string;
}

const f32 = Math.fround;

/**
 * Reads `rope_parameters` (new), or `rope_theta`, `rope_scaling` and `partial_rotary_factor` (legacy).
 * @throws WeightsError `malformed`; `unsupported` for frequencies that change with the length of the text ("dynamic", and
 * "longrope" where texts may outgrow its short table): keys that are already turned would have to turn again
 */
export function readRotation(config: ConfigFields, defaults: RotationDefaults): Rotation {
  const all = config.object(["rope_scaling"]) ?? config.object(["rope_parameters"]);
  // Models with several kinds of attention keep one object for each kind.
  const own = all?.object([defaults.layerType ?? "full_attention"]) ?? all ?? config;
  const type = own === config ? "default" : own.string(["rope_type", "type"], "default");
  const theta = own.has("rope_theta")
    ? own.positive(["rope_theta"])
    : config.positive(["rope_theta"], defaults.theta ?? 10_000);
  const dim = rotaryDim(config, own, defaults);
  const maxPositions = config.count(["max_position_embeddings"], defaults.maxPositions);
  const originalPositions = config.has("original_max_position_embeddings")
    ? config.positive(["original_max_position_embeddings"])
    : own.positive(["original_max_position_embeddings"], maxPositions);
  const plain = plainFrequencies(theta, dim);
  const gguf = { "rope.freq_base": theta, "rope.dimension_count": dim };

  switch (type) {
    case "default":
      return { frequencies: plain, scale: 1, gguf };
    case "linear": {
      const factor = own.positive(["factor"]);
      return {
        frequencies: plain.map((frequency) => frequency / factor),
        scale: 1,
        gguf: { ...gguf, "rope.scaling.type": "linear", "rope.scaling.factor": factor },
      };
    }
    case "llama3":
      return { frequencies: llama3Frequencies(own, plain, originalPositions), scale: 1 };
    case "yarn": {
      const factor = own.positive(["factor"], maxPositions / originalPositions);
      const frequencies = yarnFrequencies({
        theta,
        dim,
        factor,
        originalPositions,
        betaFast: own.positive(["beta_fast"], 32),
        betaSlow: own.positive(["beta_slow"], 1),
        truncate: own.boolean(["truncate"], true),
      });
      return { frequencies, scale: yarnScale(own, factor) };
    }
    case "longrope": {
      if (originalPositions < maxPositions)
        throw config.unsupported(
          "rope_parameters",
          `"longrope" for at most original_max_position_embeddings = ${originalPositions} positions`,
        );
      const factors = own.numbers(["short_factor"]) ?? [];
      requireGeometry(
        factors.length === plain.length,
        `${factors.length} short_factor for ${plain.length} frequencies`,
      );
      const stretched = plain.map((frequency, i) => frequency / (factors[i] ?? 1));
      const factor = own.positive(["factor"], maxPositions / originalPositions);
      const derived =
        factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalPositions));
      return { frequencies: stretched, scale: own.number(["attention_factor"], derived) };
    }
    default:
      throw config.unsupported(
        config.has("rope_scaling") ? "rope_scaling" : "rope_parameters",
        'a rope_type of "default", "linear", "yarn", "llama3" or "longrope"',
      );
  }
}

/** Columns of a head that turn. */
function rotaryDim(
  config: ConfigFields,
  own: ConfigFields,
  { headDim, partial }: RotationDefaults,
): number {
  const part = own.has("partial_rotary_factor")
    ? own.positive(["partial_rotary_factor"])
    : config.positive(["partial_rotary_factor"], partial ?? 1);
  const dim = partial === null ? headDim : Math.trunc(headDim * part);
  // Columns turn in pairs: of an odd number one more turns, as in the library.
  requireGeometry(
    dim >= 1 && 2 * Math.ceil(dim / 2) <= headDim,
    `${dim} of the ${headDim} columns of a head turn`,
  );
  return dim;
}

/** Far above any head; a configuration is believed before its weights are seen, and this is made of it. */
const MAX_ROTARY_DIM = 65_536;

/** θ_i = theta^(−2i / dim). Source: arXiv:2104.09864 eq. 15. */
export function plainFrequencies(theta: number, dim: number): Float32Array<ArrayBuffer> {
  requireGeometry(dim <= MAX_ROTARY_DIM, `${dim} columns of a head are rotated`);
  return Float32Array.from({ length: Math.ceil(dim / 2) }, (_, i) =>
    f32(1 / f32(theta ** f32((2 * i) / dim))),
  );
}

/** Long waves are stretched by `factor`, short ones stay, those between are mixed. Source: Llama 3.1, as transformers has it. */
function llama3Frequencies(
  own: ConfigFields,
  plain: Float32Array,
  originalPositions: number,
): Float32Array<ArrayBuffer> {
  const factor = own.positive(["factor"]);
  const low = own.positive(["low_freq_factor"]);
  const high = own.positive(["high_freq_factor"]);
  return Float32Array.from(plain, (frequency) => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength < originalPositions / high) return frequency;
    if (wavelength > originalPositions / low) return frequency / factor;
    const smooth = (originalPositions / wavelength - low) / (high - low);
    return ((1 - smooth) * frequency) / factor + smooth * frequency;
  });
}

/**
 * Reads `rope.…` of a GGUF file.
 * @throws WeightsError `malformed`; `unsupported` for a scaling that is neither "none", "linear" nor "yarn"
 */
export function readGgufRotation(config: GgufFields, headDim: number): Rotation {
  const dim = config.count("rope.dimension_count", headDim);
  requireGeometry(
    dim <= headDim && dim % 2 === 0,
    `${dim} of the ${headDim} columns of a head turn`,
  );
  const theta = config.positive("rope.freq_base", 10_000);
  const plain = plainFrequencies(theta, dim);
  const factor = config.positive("rope.scaling.factor", 1);
  switch (config.string("rope.scaling.type", "none")) {
    case "none":
      return { frequencies: plain, scale: 1 };
    case "linear":
      return { frequencies: plain.map((frequency) => frequency / factor), scale: 1 };
    case "yarn": {
      const frequencies = yarnFrequencies({
        theta,
        dim,
        factor,
        originalPositions: config.positive("rope.scaling.original_context_length"),
        betaFast: config.positive("rope.scaling.yarn_beta_fast", 32),
        betaSlow: config.positive("rope.scaling.yarn_beta_slow", 1),
        truncate: true,
      });
      return { frequencies, scale: yarnMscale(factor) };
    }
    default:
      throw config.unsupported("rope.scaling.type", '"none", "linear" or "yarn"');
  }
}

/** "NTK by parts". Source: arXiv:2309.00071 §3.2, eq. 17–23. */
function yarnFrequencies(c: {
  readonly theta: number;
  readonly dim: number;
  readonly factor: number;
  readonly originalPositions: number;
  readonly betaFast: number;
  readonly betaSlow: number;
  readonly truncate: boolean;
}): Float32Array<ArrayBuffer> {
  const { theta, dim, factor, truncate } = c;
  // The place of the pair that turns `turns` times within the original length.
  const place = (turns: number): number =>
    (dim * Math.log(c.originalPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const from = place(c.betaFast);
  const to = place(c.betaSlow);
  const low = Math.max(truncate ? Math.floor(from) : from, 0);
  const high = Math.min(truncate ? Math.ceil(to) : to, dim - 1);
  const width = high === low ? 0.001 : high - low;
  return plainFrequencies(theta, dim).map((frequency, i) => {
    const ramp = Math.min(1, Math.max(0, (i - low) / width));
    return (frequency / factor) * ramp + frequency * (1 - ramp);
  });
}

/** Source: arXiv:2309.00071 eq. 22; with two `mscale`s DeepSeek-V2 (arXiv:2405.04434) §3.1.4. */
function yarnScale(own: ConfigFields, factor: number): number {
  const mscale = own.number(["mscale"], 0);
  const mscaleAllDim = own.number(["mscale_all_dim"], 0);
  const derived =
    mscale !== 0 && mscaleAllDim !== 0
      ? yarnMscale(factor, mscale) / yarnMscale(factor, mscaleAllDim)
      : yarnMscale(factor);
  return own.number(["attention_factor"], derived);
}

function yarnMscale(factor: number, mscale = 1): number {
  return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
}
