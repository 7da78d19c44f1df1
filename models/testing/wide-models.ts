import { readFileSync } from "node:fs";
import type { RandomAccessFile } from "../weights/source.ts";
import { randomTensors } from "./random-tensors.ts";
import { readTensors, safetensorsFile } from "./stored-tensors.ts";
import { memoryFile } from "../weights/memory-file.ts";

/** What of a fixture becomes what, so that its rows are whole blocks of every quantised type. */
interface Widths {
  readonly config: Readonly<Record<string, unknown>>;
  /** The sides of its tensors, old to new. */
  readonly sides: Readonly<Record<number, number>>;
}

const VOCABULARY = 256;

/** Models of each kind of mixer. Rows are 256 or 512 wide, heads as wide as in published models. */
export const WIDE_MODELS: Readonly<Record<string, Widths>> = {
  mamba2: {
    config: { hidden_size: 256, head_dim: 128, vocab_size: VOCABULARY },
    sides: { 48: 256, 96: 512, 112: VOCABULARY, 128: 544, 228: 1060 },
  },
  rwkv7: {
    config: { n_embd: 256, head_size: 64, dim_ffn: 512, vocab_size: VOCABULARY },
    sides: { 3: 4, 16: 64, 48: 256, 96: VOCABULARY, 128: 512 },
  },
  lfm2_moe: {
    config: {
      hidden_size: 256,
      intermediate_size: 512,
      moe_intermediate_size: 256,
      num_key_value_heads: 4,
      vocab_size: VOCABULARY,
    },
    sides: { 12: 64, 24: 256, 48: 256, 72: 512, 112: VOCABULARY, 144: 768 },
  },
  qwen3_5_text: {
    config: {
      hidden_size: 256,
      head_dim: 64,
      intermediate_size: 256,
      linear_key_head_dim: 64,
      linear_value_head_dim: 64,
      vocab_size: VOCABULARY,
    },
    sides: { 12: 64, 16: 64, 32: 128, 48: 256, 64: 256, 96: 512, 112: VOCABULARY, 128: 512 },
  },
};

/** What such a model is asked: a short prompt and a longer one. */
export const WIDE_PROMPTS: readonly (readonly number[])[] = [13, 40].map((length) =>
  Array.from({ length }, (_, i) => (37 * i + 11) % VOCABULARY),
);

const SEED = 11;

/** A model like the fixture of this name, but wider and with random weights: the same on every machine. */
export function wideModel(name: string): readonly RandomAccessFile[] {
  const widths = WIDE_MODELS[name];
  if (widths === undefined) throw new RangeError(`no wide model is called ${name}`);
  const fixture = (file: string): Uint8Array<ArrayBuffer> =>
    new Uint8Array(
      readFileSync(new URL(`../../e2e/fixtures/models/${name}/${file}`, import.meta.url)),
    );
  const config = JSON.parse(new TextDecoder().decode(fixture("config.json"))) as object;
  const shapes = [...readTensors(fixture("model.safetensors"))].map(
    ([tensor, { shape }]): [string, number[]] => [
      tensor,
      shape.map((side) => widths.sides[side] ?? side),
    ],
  );
  return [
    memoryFile(
      "config.json",
      new TextEncoder().encode(JSON.stringify({ ...config, ...widths.config })),
    ),
    safetensorsFile(randomTensors(Object.fromEntries(shapes), SEED)),
  ];
}
