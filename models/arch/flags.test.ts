/** Every model of e2e/fixtures/flags: configurations that no golden model has, against float64 loops that are not ours. */
import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { expectAllClose } from "../../kernels/testing/all-close.ts";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { fixtureBytes, loadGolden } from "../../kernels/testing/golden.ts";
import { LOGITS } from "../../kernels/testing/tolerances.ts";
import { loadTestModel } from "../testing/test-model.ts";
import { memoryFile } from "../weights/memory-file.ts";

const folders = readdirSync(new URL("../../e2e/fixtures/flags", import.meta.url), {
  withFileTypes: true,
})
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)
  .toSorted();

/** The first of each architecture: a software GPU compiles every shader for seconds, and op tests know its edges. */
const firsts = folders.filter(
  (name, index) => name.split("-")[0] !== folders[index - 1]?.split("-")[0],
);

forEachBackend("models with unusual flags", (backend, backendName) => {
  test.each(backendName === "webgpu" ? firsts : folders)("%s", async (name) => {
    const at = `flags/${name}`;
    const golden = loadGolden(`${at}/golden.safetensors`);
    const files = ["config.json", "model.safetensors"].map((file) =>
      memoryFile(file, fixtureBytes(`${at}/${file}`)),
    );
    const model = await loadTestModel(backend(), files);
    const expected = golden.f32("logits").values;
    expect(expected.length % model.model.vocabSize).toBe(0);
    // In pieces, so that delays and windows cross their borders.
    const state = model.createState(1);
    const logits = await model.run(state, [golden.i32("ids")], {
      phase: "prefill",
      logits: "all",
      chunk: 9,
    });
    expectAllClose(logits, expected, LOGITS, "logits");
    state.release();
    model.release();
  });
});
