import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { fixtureText } from "../../kernels/testing/golden.ts";
import { argmax, LOADING_MS, loadTestModel, type TestModel } from "../testing/test-model.ts";
import { memoryFile } from "../weights/memory-file.ts";

interface GoldenPrompt {
  readonly prompt: string;
  readonly input_ids: readonly number[];
  readonly greedy: readonly number[];
  readonly top5_first: readonly { readonly id: number; readonly logit: number }[];
}
const { prompts } = JSON.parse(fixtureText("default-model/golden-q8_0.json")) as {
  readonly prompts: readonly GoldenPrompt[];
};

const NAME = "tarn-default-25m-Q8_0.gguf";
const file = new URL(`../../resources/models/${NAME}`, import.meta.url);
/** <|end|> */
const END = 5;
/** Prompts whose answer survives 8-bit activations, up to its end. */
const ROBUST = [0, 3, 4];
/** First logits that lie closer may change places under 8-bit activations. */
const CLEAR_GAP = 0.8;
/** A CPU that plays a GPU decodes a few tokens a second; the first tokens tell a wrong kernel from a right one. */
const SOFTWARE_GPU_TOKENS = 4;

forEachBackend("the default model", (backend) => {
  describe("against llama.cpp", () => {
    let model: TestModel;
    beforeAll(async () => {
      model = await loadTestModel(backend(), [memoryFile(NAME, readFileSync(file))]);
    }, LOADING_MS);
    afterAll(() => model.release());

    test.each(prompts.map((golden, index) => ({ index, golden })))(
      "goes on from prompt $index",
      { timeout: 300_000 },
      async ({ index, golden }) => {
        const { device } = backend();
        const rounds = device.features.includes("int8-activations");
        const steps =
          device.backend === "webgpu" && device.software
            ? SOFTWARE_GPU_TOKENS
            : golden.greedy.length;
        const state = model.createState(1);
        let logits = await model.run(state, [golden.input_ids], {
          phase: "prefill",
          logits: "last",
        });
        const tolerance = rounds ? 0.4 : 1e-3;
        const errors = golden.top5_first.map(({ id, logit }) =>
          Math.abs((logits[id] ?? NaN) - logit),
        );
        expect(Math.max(...errors)).toBeLessThanOrEqual(tolerance);

        const chosen: number[] = [];
        for (let step = 0; step < steps; step++) {
          chosen.push(argmax(logits));
          logits = await model.run(state, [chosen.slice(-1)], { phase: "decode", logits: "last" });
        }
        const [best, second] = golden.top5_first;
        const clear = (best?.logit ?? 0) - (second?.logit ?? 0) > CLEAR_GAP;
        const answer = golden.greedy.slice(0, golden.greedy.indexOf(END) + 1);
        const comparable = !rounds
          ? steps
          : ROBUST.includes(index)
            ? Math.min(steps, answer.length)
            : clear
              ? 1
              : 0;
        expect(chosen.slice(0, comparable)).toEqual(golden.greedy.slice(0, comparable));
        state.release();
      },
    );
  });
});
