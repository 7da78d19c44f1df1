/**
 * Flags that no golden model has, judged by the golden ones: a fixture is rearranged so that another configuration
 * describes the same function, and must give the same outputs.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend } from "../../kernels/spec/backend.ts";
import { expectAllClose } from "../../kernels/testing/all-close.ts";
import { fixtureBytes, loadGolden } from "../../kernels/testing/golden.ts";
import { openBackend } from "../../kernels/testing/open-backend.ts";
import { LOGITS } from "../../kernels/testing/tolerances.ts";
import { readTensors, safetensorsFile, type TestTensor } from "../testing/stored-tensors.ts";
import { loadTestModel } from "../testing/test-model.ts";
import { memoryFile } from "../weights/memory-file.ts";

type Config = Record<string, unknown>;
type Tensors = Map<string, TestTensor>;

interface Case {
  readonly folder: string;
  readonly what: string;
  readonly config: (config: Config) => Config;
  readonly tensors?: (tensors: Tensors) => void;
  /** The logits of the rearranged model; the golden ones if left out. */
  readonly expected?: (golden: Float32Array) => Float32Array;
}

function zeros(...shape: readonly number[]): TestTensor {
  return { shape, values: new Float32Array(shape.reduce((product, side) => product * side, 1)) };
}

/** Adds a bias of zeros beside every weight whose name matches. */
function addBiases(tensors: Tensors, names: RegExp): void {
  for (const [name, { shape }] of tensors) {
    if (names.test(name)) tensors.set(name.replace(/weight$/, "bias"), zeros(shape[0] ?? 0));
  }
}

function copyHead(tensors: Tensors, embedding: string): void {
  const table = tensors.get(embedding);
  if (table !== undefined) tensors.set("lm_head.weight", table);
}

/** Tensors one below the other, under a new name. */
function stack(tensors: Tensors, names: readonly string[], into: string): void {
  const parts = names.map((name) => tensors.get(name) ?? zeros(0));
  const [first = zeros(0)] = parts;
  tensors.set(into, {
    shape: [parts.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0), ...first.shape.slice(1)],
    values: Float32Array.from(parts.flatMap(({ values }) => [...values])),
  });
  for (const name of names) tensors.delete(name);
}

/** Convolutions with a tap more, the oldest, which is 0. */
function addTap(tensors: Tensors, names: RegExp): void {
  for (const [name, { shape, values }] of tensors) {
    if (!names.test(name)) continue;
    const taps = shape.at(-1) ?? 0;
    const wider = Float32Array.from({ length: (values.length / taps) * (taps + 1) }, (_, i) => {
      const tap = i % (taps + 1);
      return tap === 0 ? 0 : (values[Math.floor(i / (taps + 1)) * taps + tap - 1] ?? NaN);
    });
    tensors.set(name, { shape: [...shape.slice(0, -1), taps + 1], values: wider });
  }
}

const XLSTM_FUSED = [0, 1].map((i) => {
  const at = `backbone.blocks.${i}.`;
  const mixer = `${at}mlstm_layer.`;
  return [
    [["q", "k", "v", "ogate_preact"].map((name) => `${mixer}${name}`), `${mixer}qkv_opreact`],
    [["igate_preact", "fgate_preact"].map((name) => `${mixer}${name}`), `${mixer}ifgate_preact`],
    [["proj_up_gate", "proj_up"].map((name) => `${at}ffn.${name}`), `${at}ffn.proj_up_gate_z`],
  ] as const;
});

const CASES: readonly Case[] = [
  {
    folder: "lfm2",
    what: "biases of zero in its convolutions",
    config: (config) => ({ ...config, conv_bias: true }),
    tensors: (tensors) => addBiases(tensors, /\.conv\.(in_proj|conv|out_proj)\.weight$/),
  },
  {
    folder: "lfm2",
    what: "its attention layers by number, its width adjusted, its head stored",
    config: (config) => ({
      ...config,
      layer_types: null,
      intermediate_size: null,
      full_attn_idxs: [2],
      block_ff_dim: 142,
      block_auto_adjust_ff_dim: true,
      block_multiple_of: 16,
      tie_embedding: false,
    }),
    tensors: (tensors) => copyHead(tensors, "model.embed_tokens.weight"),
  },
  {
    folder: "minimax",
    what: "no stored decays, a window wider than the text",
    config: (config) => ({ ...config, sliding_window: 1000 }),
    tensors(tensors) {
      for (const name of tensors.keys())
        if (/(slope_rate|_decay)$/.test(name)) tensors.delete(name);
    },
  },
  {
    folder: "recurrent_gemma",
    what: "biases of zero in attention, its head stored, every layer's type spelt out",
    config: (config) => ({
      ...config,
      attention_bias: true,
      tie_word_embeddings: false,
      block_types: ["recurrent", "recurrent", "attention", "recurrent"],
    }),
    tensors(tensors) {
      addBiases(tensors, /temporal_block\.[qkv]_proj\.weight$/);
      copyHead(tensors, "model.embed_tokens.weight");
    },
  },
  {
    folder: "xlstm",
    what: "fused projections",
    config: (config) => ({ ...config, weight_mode: "fused" }),
    tensors(tensors) {
      for (const [names, into] of XLSTM_FUSED.flat()) {
        const named = (suffix: string): string[] => names.map((name) => `${name}.${suffix}`);
        stack(tensors, named("weight"), `${into}.weight`);
        if (into.endsWith("ifgate_preact")) stack(tensors, named("bias"), `${into}.bias`);
      }
    },
  },
  {
    folder: "xlstm",
    what: "biases of zero everywhere",
    config: (config) => ({ ...config, use_bias: true }),
    tensors: (tensors) => addBiases(tensors, /blocks\.\d+\.(?!mlstm_layer\.[if]gate).*\.weight$/),
  },
  {
    folder: "zaya",
    what: "a tap more in both convolutions",
    config: (config) => ({ ...config, cca_time0: 3, cca_time1: 3 }),
    tensors: (tensors) => addTap(tensors, /conv_qk_(depthwise|grouped)\.weight$/),
  },
  {
    folder: "zaya",
    what: "biases of zero in attention, a window wider than the text",
    config: (config) => ({
      ...config,
      attention_bias: true,
      layer_types: ["hybrid", "hybrid_sliding", "hybrid"],
      sliding_window: 1000,
      rope_parameters: Object.fromEntries(
        ["hybrid", "hybrid_sliding"].map((type) => [
          type,
          { rope_type: "default", rope_theta: 5_000_000, partial_rotary_factor: 0.5 },
        ]),
      ),
    }),
    tensors: (tensors) => addBiases(tensors, /self_attn\..*(_proj|_current|_delayed)\.weight$/),
  },
  {
    folder: "zaya",
    what: "a bias in its head, which is stored",
    config: (config) => ({ ...config, lm_head_bias: true, tie_word_embeddings: false }),
    tensors(tensors) {
      copyHead(tensors, "model.embed_tokens.weight");
      const values = Float32Array.from({ length: 112 }, (_, i) => Math.sin(i));
      tensors.set("lm_head.bias", { shape: [112], values });
    },
    expected: (golden) => golden.map((logit, i) => logit + Math.sin(i % 112)),
  },
];

describe("rearranged fixtures", () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openBackend("reference");
  });
  afterAll(() => backend.release());

  async function logitsOf(
    folder: string,
    edit: (config: Config) => Config,
    rearrange: (tensors: Tensors) => void,
  ): Promise<Float32Array> {
    const golden = loadGolden(`models/${folder}/golden.safetensors`);
    const tensors = readTensors(fixtureBytes(`models/${folder}/model.safetensors`));
    rearrange(tensors);
    const text = new TextDecoder().decode(fixtureBytes(`models/${folder}/config.json`));
    const config = JSON.stringify(edit(JSON.parse(text) as Config));
    const model = await loadTestModel(backend, [
      memoryFile("config.json", new TextEncoder().encode(config)),
      safetensorsFile(tensors),
    ]);
    const state = model.createState(1);
    const logits = await model.run(state, [golden.i32("p0.input_ids")], {
      phase: "prefill",
      logits: "all",
      // In pieces, so that delays and windows cross their borders.
      chunk: 5,
    });
    state.release();
    model.release();
    return logits;
  }

  test.each(CASES)("$folder with $what", async ({ folder, config, tensors, expected }) => {
    const logits = await logitsOf(folder, config, tensors ?? (() => {}));
    const golden = loadGolden(`models/${folder}/golden.safetensors`).f32("p0.logits").values;
    expectAllClose(logits, expected?.(golden) ?? golden, LOGITS, "logits");
  });

  test("Hawk: recurrent_gemma up to its first attention layer", async () => {
    const logits = await logitsOf(
      "recurrent_gemma",
      (config) => ({ ...config, num_hidden_layers: 2, block_types: ["recurrent"] }),
      () => {},
    );
    // What the library fed its third layer, through the last norm, the head and the cap.
    const golden = loadGolden("models/recurrent_gemma/golden.safetensors").f32("p0.hidden.2");
    const tensors = readTensors(fixtureBytes("models/recurrent_gemma/model.safetensors"));
    const norm = tensors.get("model.final_norm.weight")?.values ?? [];
    const table = tensors.get("model.embed_tokens.weight") ?? zeros(0, 0);
    const [vocabSize = 0, dModel = 0] = table.shape;
    const expected: number[] = [];
    for (let at = 0; at < golden.values.length; at += dModel) {
      const x = golden.values.subarray(at, at + dModel);
      const square = x.reduce((sum, value) => sum + value * value, 0) / dModel;
      for (let v = 0; v < vocabSize; v++) {
        let logit = 0;
        for (let i = 0; i < dModel; i++)
          logit += (x[i] ?? NaN) * (1 + (norm[i] ?? NaN)) * (table.values[v * dModel + i] ?? NaN);
        expected.push(30 * Math.tanh(logit / Math.sqrt(square + 1e-6) / 30));
      }
    }
    expect(logits.length).toBe(expected.length);
    expectAllClose(logits, expected, LOGITS, "logits");
  });
});
