import { afterAll, beforeAll, describe, test } from "vitest";
import { expectAllClose } from "../../kernels/testing/all-close.ts";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { loadGolden } from "../../kernels/testing/golden.ts";
import { LOGITS, STATES } from "../../kernels/testing/tolerances.ts";
import { fixtureModel, LOADING_MS, loadTestModel, type TestModel } from "../testing/test-model.ts";

const DECODE = { phase: "decode", logits: "last" } as const;

forEachBackend("identities", (backend) => {
  describe.each(["mamba", "mamba2"])("%s", (folder) => {
    const golden = loadGolden(`models/${folder}/golden.safetensors`);
    let model: TestModel;
    beforeAll(async () => {
      model = await loadTestModel(backend(), fixtureModel(folder));
    }, LOADING_MS);
    afterAll(() => model.release());
    const long = golden.i32("p1.input_ids");

    test("prefill of T tokens equals T steps of decode", async () => {
      const ids = long.slice(0, 40);
      const [atOnce, stepwise] = [model.createState(1), model.createState(1)];
      const expected = await model.run(stepwise, [ids], { ...DECODE, chunk: 1 });
      const logits = await model.run(atOnce, [ids], { phase: "prefill", logits: "all" });
      expectAllClose(logits, expected, LOGITS, "logits");
      const [states, expectedStates] = [
        await backend().readState(atOnce, 0),
        await backend().readState(stepwise, 0),
      ];
      model.model.layout.forEach(({ name }, slot) => {
        expectAllClose(states[slot] ?? [], expectedStates[slot] ?? [], STATES, name);
      });
      atOnce.release();
      stepwise.release();
    });
  });
});
