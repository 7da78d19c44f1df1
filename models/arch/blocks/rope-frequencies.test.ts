import { describe, expect, test } from "vitest";
import { expectAllClose } from "../../../kernels/testing/all-close.ts";
import type { JsonObject } from "../../weights/json.ts";
import { ConfigFields } from "../config-fields.ts";
import { GgufFields } from "../gguf-fields.ts";
import { readGgufRotation, readRotation } from "./rope-frequencies.ts";

const DEFAULTS = { headDim: 16, partial: 1, maxPositions: 1024 } as const;
/** Frequencies are f32, and their powers may differ in the last bits. */
const CLOSE = { absolute: 0, relative: 5e-7 } as const;

/**
 * `ROPE_INIT_FUNCTIONS` of transformers 5.17.0, run with NumPy in PyTorch's place: heads of 16 columns, 1024 positions.
 */
const EXPECTED: readonly {
  readonly parameters: JsonObject;
  readonly frequencies: readonly number[];
  readonly scale: number;
}[] = [
  {
    parameters: { rope_type: "linear", rope_theta: 10000, factor: 4 },
    frequencies: [
      0.25, 0.079056941, 0.0250000004, 0.00790569466, 0.00249999994, 0.000790569466, 0.000250000012,
      7.90569466e-5,
    ],
    scale: 1,
  },
  {
    parameters: {
      rope_type: "llama3",
      rope_theta: 10000,
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 256,
    },
    frequencies: [
      1, 0.316227764, 0.100000001, 0.00661310693, 0.00124999997, 0.000395284733, 0.000125000006,
      3.95284733e-5,
    ],
    scale: 1,
  },
  {
    parameters: {
      rope_type: "yarn",
      rope_theta: 10000,
      factor: 4,
      original_max_position_embeddings: 256,
    },
    frequencies: [
      1, 0.25693506, 0.0625, 0.0138349654, 0.00249999994, 0.000790569466, 0.000250000012,
      7.90569466e-5,
    ],
    scale: 1.138629436111989,
  },
  {
    parameters: {
      rope_type: "yarn",
      rope_theta: 50000,
      factor: 8,
      original_max_position_embeddings: 128,
      beta_fast: 16,
      beta_slow: 2,
      mscale: 0.8,
      mscale_all_dim: 1.2,
      truncate: false,
      partial_rotary_factor: 0.75,
    },
    frequencies: [1, 0.056485381, 0.00339302188, 0.000559017004, 9.21007668e-5, 1.51740587e-5],
    scale: 0.9334330004364886,
  },
  {
    parameters: {
      rope_type: "longrope",
      rope_theta: 10000,
      factor: 2,
      original_max_position_embeddings: 1024,
      short_factor: [1, 1.1, 1.2, 1.3, 1.5, 1.7, 2, 2.5],
      long_factor: [1, 1, 1, 1, 1, 1, 1, 1],
    },
    frequencies: [
      1, 0.287479758, 0.0833333358, 0.0243252143, 0.00666666683, 0.00186016329, 0.000500000024,
      0.000126491112,
    ],
    scale: 1.0488088481701516,
  },
];

describe("rotary frequencies", () => {
  test.each(EXPECTED)("are the library's: $parameters", ({ parameters, frequencies, scale }) => {
    const rotation = readRotation(new ConfigFields({ rope_parameters: parameters }), DEFAULTS);
    expectAllClose(rotation.frequencies, frequencies, CLOSE, "frequencies");
    expect(rotation.scale).toBeCloseTo(scale, 12);
  });

  test("fall by a factor of theta over a head", () => {
    const { frequencies } = readRotation(new ConfigFields({ rope_theta: 256 }), DEFAULTS);
    expectAllClose(
      frequencies,
      [0, 1, 2, 3, 4, 5, 6, 7].map((i) => 2 ** -i),
      CLOSE,
      "frequencies",
    );
  });

  test("are the same in the legacy spelling", () => {
    const legacy = new ConfigFields({
      rope_theta: 10000,
      rope_scaling: { type: "linear", factor: 4 },
      partial_rotary_factor: 0.5,
    });
    const recent = new ConfigFields({
      rope_parameters: {
        rope_type: "linear",
        factor: 4,
        rope_theta: 10000,
        partial_rotary_factor: 0.5,
      },
    });
    expect(readRotation(legacy, DEFAULTS)).toEqual(readRotation(recent, DEFAULTS));
    expect(readRotation(legacy, DEFAULTS).frequencies).toHaveLength(4);
  });

  test("of one kind of attention count where there are several kinds", () => {
    const several = new ConfigFields({
      rope_parameters: { full_attention: { rope_type: "default", rope_theta: 100 } },
    });
    expect(readRotation(several, DEFAULTS)).toEqual(
      readRotation(new ConfigFields({ rope_theta: 100 }), DEFAULTS),
    );
  });

  test.each([
    { rope_type: "dynamic", factor: 2 },
    {
      rope_type: "longrope",
      original_max_position_embeddings: 512,
      short_factor: [1, 1, 1, 1, 1, 1, 1, 1],
      long_factor: [2, 2, 2, 2, 2, 2, 2, 2],
    },
    { rope_type: "spiral" },
  ])(
    "that change with the text's length, or are not known, are refused: $rope_type",
    (parameters) => {
      const config = new ConfigFields({ rope_parameters: parameters });
      expect(() => readRotation(config, DEFAULTS)).toThrow(/rope_parameters/);
    },
  );

  test.each(["default", "linear"])("are the same from GGUF: %s", (type) => {
    const config = new ConfigFields({
      rope_parameters: {
        rope_type: type,
        rope_theta: 5000,
        factor: 3,
        partial_rotary_factor: 0.5,
      },
    });
    const { frequencies, scale, gguf } = readRotation(config, DEFAULTS);
    const metadata = new Map(
      Object.entries(gguf ?? {}).map(([field, value]) => [`arch.${field}`, value] as const),
    );
    expect(readGgufRotation(new GgufFields(metadata, "arch"), 16)).toEqual({ frequencies, scale });
  });
});
