import { expect, test } from "vitest";
import { fixtureBytes } from "../../kernels/testing/golden.ts";
import { slotSize } from "../../kernels/spec/tensor.ts";
import { fixtureModel } from "../testing/test-model.ts";
import { memoryFile } from "../weights/memory-file.ts";
import { openModel, type OpenedModel } from "../weights/open-model.ts";
import type { Model } from "./architecture.ts";
import { UnknownArchitectureError } from "./errors.ts";
import { describeModel } from "./registry.ts";
import { checkingLoader } from "./weight-loader.ts";

const FOLDERS = ["mamba", "mamba2"] as const;
type Edit = (config: Record<string, unknown>) => Record<string, unknown>;

async function open(folder: string, edit: Edit): Promise<OpenedModel> {
  const config = JSON.parse(
    new TextDecoder().decode(fixtureBytes(`models/${folder}/config.json`)),
  ) as Record<string, unknown>;
  const [, weights] = fixtureModel(folder);
  if (weights === undefined) throw new Error("the fixture has no weights");
  return openModel([
    memoryFile("config.json", new TextEncoder().encode(JSON.stringify(edit(config)))),
    weights,
  ]);
}

/** Everything that a wrong configuration can upset, without a backend. */
async function check(folder: string, edit: Edit): Promise<Model> {
  const opened = await open(folder, edit);
  const model = describeModel(opened.config, opened.tensors);
  await model.load(checkingLoader(opened.tensors, { quantise: null }));
  return model;
}

test.each(FOLDERS)("describes %s alike from the new and the old spelling", async (folder) => {
  const [now, then] = await Promise.all(
    ["config.json", "config.legacy.json"].map(async (config) => {
      const opened = await openModel(fixtureModel(folder, config));
      const { load: _, ...description } = describeModel(opened.config, opened.tensors);
      return description;
    }),
  );
  expect(then).toEqual(now);
});

test.each(FOLDERS)("takes the original authors' names for the fields of %s", async (folder) => {
  const renamed = await check(
    folder,
    ({ hidden_size, num_hidden_layers, state_size, conv_kernel, ...rest }) => ({
      ...rest,
      d_model: hidden_size,
      n_layer: num_hidden_layers,
      d_state: state_size,
      d_conv: conv_kernel,
    }),
  );
  expect(renamed.layout).toEqual((await check(folder, (config) => config)).layout);
});

test('takes time_step_rank "auto" as hidden_size / 16, rounded up', async () => {
  await check("mamba", (config) => ({ ...config, time_step_rank: "auto" }));
});

test.each(FOLDERS)("counts parameters and bytes of %s, tied weights once", async (folder) => {
  const opened = await openModel(fixtureModel(folder));
  const loader = checkingLoader(opened.tensors, { quantise: null });
  await describeModel(opened.config, opened.tensors).load(loader);
  const stored = opened.tensors
    .names()
    .reduce((sum, name) => sum + opened.tensors.info(name).bytes, 0);
  expect(loader.totals().bytes).toBe(stored);
  expect(loader.totals().parameters).toBe(stored / 4);
});

test("lays out the state of Mamba-2 as the golden files do", async () => {
  const { layout } = await check("mamba2", (config) => config);
  expect(layout.slice(0, 2)).toEqual([
    { name: "layers.0.conv", shape: [128, 3] },
    { name: "layers.0.ssm", shape: [4, 24, 16] },
  ]);
  expect(layout.reduce((sum, slot) => sum + slotSize(slot), 0)).toBe(3 * (128 * 3 + 4 * 24 * 16));
});

test.each(["llama", "", "__proto__", "constructor"])(
  'refuses the architecture "%s" by name',
  async (modelType) => {
    const error: unknown = await check("mamba", (config) => ({
      ...config,
      model_type: modelType,
    })).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UnknownArchitectureError);
    expect(error).toMatchObject({
      modelType,
      known: expect.arrayContaining(["mamba", "mamba2"]),
    });
  },
);

test.each([
  ["another width", "mamba", { hidden_size: 64 }, "mismatch"],
  ["one layer more than there is", "mamba2", { num_hidden_layers: 4 }, "missing"],
  ["a head that is not there", "mamba", { tie_word_embeddings: false }, "missing"],
  ["biases that are not there", "mamba2", { use_bias: true }, "missing"],
  ["another vocabulary", "mamba2", { vocab_size: 113 }, "mismatch"],
  ["heads that do not fill dInner", "mamba2", { num_heads: 5 }, "malformed"],
  ["groups that do not divide the heads", "mamba2", { n_groups: 3 }, "malformed"],
  ["a million layers", "mamba", { num_hidden_layers: 1_000_000 }, "malformed"],
  ["no width", "mamba", { hidden_size: null }, "missing"],
  ["a negative width", "mamba", { hidden_size: -48 }, "malformed"],
  ["a width in words", "mamba", { hidden_size: "48" }, "malformed"],
  ["a fractional dInner", "mamba", { expand: 0.001 }, "malformed"],
  ["a convolution of one tap", "mamba", { conv_kernel: 1 }, "malformed"],
  ["another activation", "mamba2", { hidden_act: "gelu" }, "unsupported"],
  ["limits of dt in the wrong order", "mamba2", { time_step_limit: [1, 0] }, "malformed"],
  ["limits of dt that are no numbers", "mamba2", { time_step_limit: ["0", "1"] }, "malformed"],
])("refuses %s, and says what was expected", async (_, folder, change, code) => {
  const error: unknown = await check(folder, (config) => ({ ...config, ...change })).catch(
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({ name: "WeightsError", code });
});
