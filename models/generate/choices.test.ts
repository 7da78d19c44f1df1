import { expect, test } from "vitest";
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { scaledAdd } from "../../kernels/ops/scaled-add/scaled-add.ts";
import { recordPlan } from "../../kernels/plan/recorder.ts";
import type { Backend, Executable } from "../../kernels/spec/backend.ts";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { seeded, type Seeded } from "../../kernels/testing/seeded.ts";
import { SamplerError } from "./sampler-error.ts";
import { createSampler, type SamplerOptions } from "./sampler.ts";

const BATCH = 8;

/** A model whose logits behind token t are row t. */
async function modelOf(backend: Backend, rows: readonly Float32Array[]): Promise<Executable> {
  const cols = rows[0]?.length ?? 0;
  const table = await backend.uploadWeight(
    { name: "logits", dtype: "f32", rows: rows.length, cols, use: "matrix" },
    async (first, count) => {
      const values = new Float32Array(count * cols);
      rows.slice(first, first + count).forEach((row, at) => values.set(row, at * cols));
      return new Uint8Array(values.buffer);
    },
  );
  return backend.compile(
    recordPlan({ batch: BATCH, length: 1 }, [], (k) => {
      scaledAdd(k, { a: embedding(k, table), into: k.output(BATCH, cols) });
    }),
  );
}

/** Logits as models have them, and as none should: flat, far apart, with ties, with nothing to choose from. */
function rowsOf(random: Seeded, vocab: number): Float32Array[] {
  const anywhere = (): number => random.integers(1, vocab)[0] ?? 0;
  const ties = random.normal(vocab, 2).map((logit) => Math.round(logit));
  const sparse = random.normal(vocab, 3).map((logit) => (random.next() < 0.9 ? -Infinity : logit));
  sparse[anywhere()] = 1;
  const peaked = random.normal(vocab, 1);
  peaked[anywhere()] = 30;
  return [
    random.normal(vocab, 1),
    random.normal(vocab, 4).map((logit) => logit - 20),
    ties,
    sparse,
    peaked,
    new Float32Array(vocab),
    random.normal(vocab, 1e30),
    random.normal(vocab, 1e-25),
  ];
}

function optionsOf(random: Seeded, vocab: number): SamplerOptions {
  const among = (values: readonly number[]): number =>
    values[Math.floor(random.next() * values.length)] ?? 0;
  return {
    temperature: among([0, 1e-12, 0.1, 0.7, 1, 1, 1.5, 5, 1e9]),
    topK: among([0, 0, 1, 2, 40, 700, vocab - 1, vocab, vocab + 1]),
    topP: among([1, 1, 0, 0.1, 0.5, 0.9, 0.95, 0.999]),
    minP: among([0, 0, 0.001, 0.05, 0.5, 1]),
    repetitionPenalty: among([1, 1.1, 1.3, 0.8, 3]),
    repetitionWindow: among([0, 1, 7, 64, 300]),
    seed: Math.floor(random.next() * 1e9),
  };
}

forEachBackend("choices on the device", (backend) => {
  test.each([
    { vocab: 10, times: 80 },
    { vocab: 67, times: 80 },
    { vocab: 511, times: 40 },
    { vocab: 512, times: 40 },
    { vocab: 513, times: 40 },
    { vocab: 4097, times: 30 },
    { vocab: 50_277, times: 6 },
    { vocab: 150_001, times: 2 },
    { vocab: 262_145, times: 1 },
  ])("are those of the host: $times times $vocab logits", async ({ vocab, times }) => {
    const random = seeded(vocab);
    const rows = rowsOf(random, vocab);
    const executable = await modelOf(backend(), rows);
    const { runAhead, takesChoices } = executable;
    if (runAhead === undefined || takesChoices !== true) return;
    const first = Int32Array.from(rows.keys());
    const state = backend().createState([], BATCH);
    const [logits = new Float32Array()] = await executable.run(first, state, true);
    for (let time = 0; time < times; time++) {
      const options = rows.map(() => optionsOf(random, vocab));
      const recent = rows.map(() => [...random.integers(Math.floor(random.next() * 400), vocab)]);
      const make = () => options.map((option, row) => createSampler(option, recent[row] ?? []));
      const expected = make().map((sampler, row) =>
        sampler.next(logits.subarray(row * vocab, (row + 1) * vocab)),
      );
      const fed: number[] = [];
      const choices = make().map((sampler) => sampler.ahead());
      await runAhead(first, state, { steps: 2, stopIds: [], choices }, (runs) => {
        fed.push(...runs.fed);
        return true;
      });
      expect(fed.slice(BATCH), JSON.stringify(options)).toEqual(expected);
    }
    executable.release();
  });

  test("end where there is nothing to choose", async () => {
    for (const broken of [
      [NaN, 0],
      [Infinity, 0],
      [-Infinity, -Infinity],
    ]) {
      const row = Float32Array.from(broken);
      const executable = await modelOf(backend(), [row]);
      const { runAhead, takesChoices } = executable;
      if (runAhead === undefined || takesChoices !== true) return;
      const sampler = createSampler(optionsOf(seeded(1), 2), []);
      const state = backend().createState([], BATCH);
      const choices = Array.from({ length: BATCH }, () => sampler.ahead());
      const fed: number[] = [];
      const limits = { steps: 9, stopIds: [], choices };
      await runAhead(new Int32Array(BATCH), state, limits, (runs) => {
        fed.push(...runs.fed);
        return true;
      });
      expect(fed).toEqual(Array(BATCH).fill(0));
      expect(() => sampler.next(row)).toThrow(SamplerError);
      executable.release();
    }
  });
});
