import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectAllClose } from "../../kernels/testing/all-close.ts";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { loadGolden, type Golden } from "../../kernels/testing/golden.ts";
import { LOGITS, STATES } from "../../kernels/testing/tolerances.ts";
import {
  argmax,
  fixtureModel,
  LOADING_MS,
  loadTestModel,
  type TestModel,
} from "../testing/test-model.ts";

const MODELS = [
  { folder: "mamba", prompts: ["p0", "p1"] },
  { folder: "mamba2", prompts: ["p0", "p1"] },
  // Biases in the projections, none in the convolution, three taps, untied.
  { folder: "mamba_flags", prompts: ["p0"] },
  // The same, tied, in two groups, with limits of dt that bite.
  { folder: "mamba2_flags", prompts: ["p0"] },
];
const GREEDY_TOKENS = 16;

/** The library's conv state is dConv wide; ours has only the last dConv − 1 inputs of each channel. */
function lastColumns(
  { shape, values }: { shape: readonly number[]; values: Float32Array },
  keep: number,
): Float32Array {
  const width = shape.at(-1) ?? 0;
  return values.filter((_, i) => i % width >= width - keep);
}

function goldenState(golden: Golden, prompt: string, model: TestModel["model"]): Float32Array[] {
  return model.layout.map(({ name, shape }) =>
    name.endsWith(".conv")
      ? lastColumns(golden.f32(`${prompt}.state.${name}`), shape.at(-1) ?? 0)
      : golden.f32(`${prompt}.state.${name.replace(/\.ssm$/, ".recurrent")}`).values,
  );
}

forEachBackend("golden models", (backend) => {
  describe.each(MODELS)("$folder", ({ folder, prompts }) => {
    const golden = loadGolden(`models/${folder}/golden.safetensors`);
    let model: TestModel;
    beforeAll(async () => {
      model = await loadTestModel(backend(), fixtureModel(folder));
    }, LOADING_MS);
    afterAll(() => model.release());

    test.each(prompts)(
      "reads %s with the library's logits and state, and goes on as it does",
      async (prompt) => {
        const state = model.createState(1);
        const logits = await model.run(state, [golden.i32(`${prompt}.input_ids`)], {
          phase: "prefill",
          logits: "all",
        });
        expectAllClose(logits, golden.f32(`${prompt}.logits`).values, LOGITS, "logits");
        const states = await backend().readState(state, 0);
        goldenState(golden, prompt, model.model).forEach((expected, slot) => {
          expectAllClose(
            states[slot] ?? [],
            expected,
            STATES,
            model.model.layout[slot]?.name ?? "",
          );
        });

        const chosen = [argmax(logits.subarray(-model.model.vocabSize))];
        const decoded: number[] = [];
        for (let step = 0; step < GREEDY_TOKENS; step++) {
          const after = await model.run(state, [chosen.slice(-1)], {
            phase: "decode",
            logits: "last",
          });
          decoded.push(...after);
          if (chosen.length < GREEDY_TOKENS) chosen.push(argmax(after));
        }
        expect(chosen).toEqual([...golden.i32(`${prompt}.greedy`)]);
        expectAllClose(
          decoded,
          golden.f32(`${prompt}.decode_logits`).values,
          LOGITS,
          "decode_logits",
        );
        state.release();
      },
    );

    test.each([1, 7, 64, 1000])("gives the same in chunks of %i", async (chunk) => {
      const state = model.createState(1);
      const prompt = prompts.at(-1) ?? "";
      const ids = golden.i32(`${prompt}.input_ids`);
      const logits = await model.run(state, [ids], { phase: "prefill", logits: "all", chunk });
      expectAllClose(logits, golden.f32(`${prompt}.logits`).values, LOGITS, "logits");
      expect(argmax(logits.subarray(-model.model.vocabSize))).toBe(
        golden.i32(`${prompt}.greedy`)[0],
      );
      state.release();
    });
  });
});
