import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectAllClose } from "../../kernels/testing/all-close.ts";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { loadGolden } from "../../kernels/testing/golden.ts";
import { LOGITS, STATES } from "../../kernels/testing/tolerances.ts";
import { decodeSnapshot, encodeSnapshot } from "../state/snapshot.ts";
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

    test("a saved and restored state goes on with the same bits", async () => {
      const { layout, vocabSize } = model.model;
      const owner = { modelHash: "0".repeat(64), tokenizerHash: "1".repeat(64), layout, vocabSize };
      const [prompt, next] = [long.slice(0, 70), long.slice(70, 76)];

      const state = model.createState(1);
      const logits = await model.run(state, [prompt], { phase: "prefill", logits: "last" });
      const bytes = await encodeSnapshot(
        {
          position: prompt.length,
          prefixHash: "2".repeat(64),
          layout,
          slots: await backend().readState(state, 0),
          logits,
        },
        owner,
      );
      const expected = await model.run(state, [next], { ...DECODE, chunk: 1 });

      const restored = await decodeSnapshot(bytes, owner);
      // Not the first sequence of its batch, so that the place is restored too.
      const elsewhere = model.createState(2);
      await backend().writeState(elsewhere, 1, restored.slots, restored.position);
      const alone = model.createState(1);
      await backend().writeState(
        alone,
        0,
        await backend().readState(elsewhere, 1),
        restored.position,
      );
      expect(restored.logits).toEqual(logits);
      expect(await model.run(alone, [next], { ...DECODE, chunk: 1 })).toEqual(expected);
      for (const buffers of [state, elsewhere, alone]) buffers.release();
    });

    test("four sequences at once equal four alone", async () => {
      const { vocabSize } = model.model;
      const prompts = [0, 31, 62, 93].map((from) => long.slice(from, from + 31));
      const next = [5, 17, 40, 99];
      const together = model.createState(4);
      const first = await model.run(together, prompts, { phase: "prefill", logits: "last" });
      const second = await model.run(
        together,
        next.map((id) => [id]),
        DECODE,
      );
      for (const [b, prompt] of prompts.entries()) {
        const alone = model.createState(1);
        const share = (logits: Float32Array): Float32Array =>
          logits.slice(b * vocabSize, (b + 1) * vocabSize);
        expectAllClose(
          share(first),
          await model.run(alone, [prompt], { phase: "prefill", logits: "last" }),
          LOGITS,
          "prompt",
        );
        expectAllClose(
          share(second),
          await model.run(alone, [[next[b] ?? 0]], DECODE),
          LOGITS,
          "next token",
        );
        const [states, expected] = [
          await backend().readState(together, b),
          await backend().readState(alone, 0),
        ];
        model.model.layout.forEach(({ name }, slot) =>
          expectAllClose(states[slot] ?? [], expected[slot] ?? [], STATES, name),
        );
        alone.release();
      }
      together.release();
    });
  });
});
