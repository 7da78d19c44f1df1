import { expect, test } from "vitest";
import { causalConv1d } from "../ops/causal-conv1d/causal-conv1d.ts";
import { embedding } from "../ops/embedding/embedding.ts";
import { linear } from "../ops/linear/linear.ts";
import { recordPlan } from "../plan/recorder.ts";
import type { AheadLimits, Backend, Executable, StateBuffers } from "../spec/backend.ts";
import type { Weight } from "../spec/tensor.ts";
import { forEachBackend } from "../testing/for-each-backend.ts";
import { seeded } from "../testing/seeded.ts";

const VOCAB = 67;

interface Shape {
  readonly width: number;
  readonly taps: number;
}

const SMALL: Shape = { width: 32, taps: 4 };
/** Six sequences of it are more than what is copied without a kernel. */
const LARGE: Shape = { width: 512, taps: 13 };

function layoutOf({ width, taps }: Shape) {
  return [{ name: "conv", shape: [width, taps - 1] }];
}

const LAYOUT = layoutOf(SMALL);

/** A model whose every logit depends on the last tokens, as many as there are taps. */
async function smallModel(
  backend: Backend,
  batch: number,
  scale = 1,
  { width, taps }: Shape = SMALL,
): Promise<Executable> {
  const random = seeded(5);
  const upload = async (use: "matrix" | "vector", rows: number, cols: number): Promise<Weight> => {
    const values = random.normal(rows * cols).map((value) => value * scale);
    return backend.uploadWeight(
      { name: "w", dtype: "f32", rows, cols, use },
      async (first, count) =>
        new Uint8Array(values.slice(first * cols, (first + count) * cols).buffer),
    );
  };
  const table = await upload("matrix", VOCAB, width);
  const head = await upload("matrix", VOCAB, width);
  const weight = await upload("vector", width, taps);
  return backend.compile(
    recordPlan({ batch, length: 1 }, layoutOf({ width, taps }), (k) => {
      const x = embedding(k, table);
      const y = causalConv1d(k, { x, weight, bias: null, state: k.state(0), silu: false });
      linear(k, y, head, { into: k.output(batch, VOCAB) });
    }),
  );
}

/** Feeds `first` and what follows greedily, a run at a time: (steps, B) ids that were fed, and the last logits. */
async function oneByOne(
  executable: Executable,
  first: readonly number[],
  state: StateBuffers,
  steps: number,
): Promise<{ readonly fed: number[]; readonly logits: Float32Array }> {
  const fed: number[] = [];
  let ids = [...first];
  let logits = new Float32Array();
  for (let step = 0; step < steps; step++) {
    fed.push(...ids);
    [logits] = (await executable.run(
      Int32Array.from(ids),
      state,
      true,
    )) as Float32Array<ArrayBuffer>[];
    ids = ids.map((_, b) => {
      const row = logits.subarray(b * VOCAB, (b + 1) * VOCAB);
      return row.indexOf(Math.max(...row));
    });
  }
  return { fed, logits };
}

/** All that a greedy run tells of, and its outputs. */
async function allOf(
  runAhead: NonNullable<Executable["runAhead"]>,
  first: readonly number[],
  state: StateBuffers,
  limits: AheadLimits,
  mostStretches = Infinity,
): Promise<{ readonly fed: number[]; readonly logProbs: number[]; readonly logits: Float32Array }> {
  const fed: number[] = [];
  const logProbs: number[] = [];
  let stretches = 0;
  const outputs = await runAhead(Int32Array.from(first), state, limits, (runs) => {
    fed.push(...runs.fed);
    logProbs.push(...runs.logProbs);
    stretches += 1;
    return stretches < mostStretches;
  });
  return { fed, logProbs, logits: outputs[0] };
}

forEachBackend("greedy runs", (backend) => {
  test.each([{ first: [3] }, { first: [3, 0, 66] }])(
    "are the runs one by one, to the bit: $first",
    async ({ first }) => {
      const executable = await smallModel(backend(), first.length);
      const { runAhead } = executable;
      if (runAhead === undefined) return;
      const [a, b] = [0, 1].map(() => backend().createState(LAYOUT, first.length));
      const expected = await oneByOne(executable, first, a, 40);
      const run = await allOf(runAhead, first, b, { steps: 40, stopIds: [], choices: null });
      expect(run.fed).toEqual(expected.fed);
      expect(run.logits).toEqual(expected.logits);
      for (const b of first.keys()) {
        const row = expected.logits.subarray(b * VOCAB, (b + 1) * VOCAB);
        const largest = Math.max(...row);
        const sum = row.reduce((all, logit) => all + Math.exp(logit - largest), 0);
        expect(run.logProbs[39 * first.length + b]).toBeCloseTo(-Math.log(sum), 4);
      }
      expect(await backend().readState(b, 0)).toEqual(await backend().readState(a, 0));
      expect([...b.positions]).toEqual([...a.positions]);
      executable.release();
    },
  );

  test.each([0, 1, 2, 3, 5, 6, 11])("end right behind a stop id: step %i", async (at) => {
    const executable = await smallModel(backend(), 1);
    const { runAhead } = executable;
    if (runAhead === undefined) return;
    const [a, b, c] = [0, 1, 2].map(() => backend().createState(LAYOUT, 1));
    const { fed } = await oneByOne(executable, [3], a, 20);
    const stop = fed[at];
    const until = fed.indexOf(stop) + 1;
    const expected = await oneByOne(executable, [3], b, until);
    const run = await allOf(runAhead, [3], c, { steps: 20, stopIds: [stop, 1000], choices: null });
    expect(run.fed).toEqual(expected.fed);
    expect(run.logits).toEqual(expected.logits);
    expect(await backend().readState(c, 0)).toEqual(await backend().readState(b, 0));
    expect([...c.positions]).toEqual([until]);
    executable.release();
  });

  test.each([4, 9])("of large states end right behind a stop id: step %i", async (at) => {
    const first = [3, 1, 4, 1, 5, 9];
    const layout = layoutOf(LARGE);
    const executable = await smallModel(backend(), first.length, 1, LARGE);
    const { runAhead } = executable;
    if (runAhead === undefined) return;
    const [a, b, c] = [0, 1, 2].map(() => backend().createState(layout, first.length));
    const { fed } = await oneByOne(executable, first, a, 14);
    const stop = fed[at * first.length + 2];
    const until = Math.floor(fed.indexOf(stop) / first.length) + 1;
    const expected = await oneByOne(executable, first, b, until);
    const run = await allOf(runAhead, first, c, { steps: 14, stopIds: [stop], choices: null });
    expect(run.fed).toEqual(expected.fed);
    expect(run.logits).toEqual(expected.logits);
    for (const sequence of first.keys()) {
      expect(await backend().readState(c, sequence)).toEqual(
        await backend().readState(b, sequence),
      );
    }
    executable.release();
  });

  test.each([1, 2, 3])("end behind what the caller took: %i stretches", async (most) => {
    const executable = await smallModel(backend(), 2);
    const { runAhead } = executable;
    if (runAhead === undefined) return;
    const [a, b] = [0, 1].map(() => backend().createState(LAYOUT, 2));
    const run = await allOf(runAhead, [3, 5], b, { steps: 200, stopIds: [], choices: null }, most);
    const steps = run.fed.length / 2;
    expect(steps).toBeLessThan(200);
    const expected = await oneByOne(executable, [3, 5], a, steps);
    expect(run.fed).toEqual(expected.fed);
    expect(run.logits).toEqual(expected.logits);
    expect(await backend().readState(b, 1)).toEqual(await backend().readState(a, 1));
    expect([...b.positions]).toEqual([steps, steps]);
    executable.release();
  });

  test("end where no logit is the largest", async () => {
    const executable = await smallModel(backend(), 1, 1e30);
    const { runAhead } = executable;
    if (runAhead === undefined) return;
    const state = backend().createState(LAYOUT, 1);
    const run = await allOf(runAhead, [3], state, { steps: 5, stopIds: [], choices: null });
    expect(run.fed).toEqual([3]);
    expect([...state.positions]).toEqual([1]);
    expect(run.logits.every((logit) => Number.isFinite(logit))).toBe(false);
    executable.release();
  });

  test("leave the sequences where they were counted if the caller fails", async () => {
    const executable = await smallModel(backend(), 1);
    const { runAhead } = executable;
    if (runAhead === undefined) return;
    const state = backend().createState(LAYOUT, 1);
    const failing = runAhead(
      Int32Array.of(3),
      state,
      { steps: 9, stopIds: [], choices: null },
      () => {
        throw new Error("no room");
      },
    );
    await expect(failing).rejects.toThrow("no room");
    expect([...state.positions]).toEqual([0]);
    executable.release();
  });
});
