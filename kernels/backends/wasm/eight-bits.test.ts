import { afterEach, describe, expect, test } from "vitest";
import { expertLinear } from "../../ops/expert-linear/expert-linear.ts";
import { linear } from "../../ops/linear/linear.ts";
import type { Backend } from "../../spec/backend.ts";
import type { Precision } from "../../spec/op.ts";
import { runOp } from "../../testing/op-runner.ts";
import { randomPacked } from "../../testing/pack.ts";
import { seeded } from "../../testing/seeded.ts";
import { spawnTestThread } from "../../testing/test-thread.ts";
import { createWasmBackend } from "./backend.ts";

const opened: Backend[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((backend) => backend.release()));
});

async function open(relaxed: boolean): Promise<Backend> {
  const backend = await createWasmBackend({ threads: 2, spawnThread: spawnTestThread, relaxed });
  opened.push(backend);
  return backend;
}

const COLS = 512;
const OUTPUTS = 43;
/** Of these the first so many are multiplied together. */
const ROWS = 34;
const COUNTS = [1, 2, 4, 5, 7, 11, 15, 16, 31, 34] as const;

describe.each([true, false])("with relaxed SIMD: %s", (relaxed) => {
  describe.each(["q8_0", "q4_0", "q4_k", "q5_k", "q6_k"] as const)("%s", (dtype) => {
    test("a row of 8 bits is the same alone, among few and in a long prompt", async () => {
      const backend = await open(relaxed);
      const random = seeded(5);
      const values = randomPacked(random, dtype, OUTPUTS, COLS, 0.1);
      const x = random.normal(ROWS * COLS);
      const multiply = async (from: number, rows: number, activations: Precision) => {
        const { y } = await runOp(backend, {
          batch: 1,
          length: rows,
          activations,
          inputs: { x: { cols: COLS, values: x.slice(from * COLS, (from + rows) * COLS) } },
          states: {},
          weights: { weight: { rows: OUTPUTS, cols: COLS, dtype, values, use: "matrix" } },
          record: (k, { inputs, weights }) => linear(k, inputs.x, weights.weight),
        });
        return y;
      };
      // A prompt of so many rows is rounded to 8 bits by itself, where the CPU multiplies bytes.
      const all = await multiply(0, ROWS, "int16");
      for (const rows of COUNTS)
        expect(await multiply(0, rows, "int8")).toEqual(all.slice(0, rows * OUTPUTS));
      expect(await multiply(ROWS - 1, 1, "int8")).toEqual(all.slice(-OUTPUTS));
    });

    test("so is one of an expert's", async () => {
      const backend = await open(relaxed);
      const random = seeded(6);
      const [nExpert, topK] = [5, 2];
      const values = randomPacked(random, dtype, nExpert * OUTPUTS, COLS, 0.1);
      const x = random.normal(ROWS * COLS);
      const chosen = random.uniform(ROWS * topK, 0, nExpert).map(Math.floor);
      const multiply = async (rows: number, activations: Precision) => {
        const { y } = await runOp(backend, {
          batch: rows,
          length: 1,
          activations,
          inputs: {
            x: { cols: COLS, values: x.slice(0, rows * COLS) },
            experts: { cols: topK, values: chosen.slice(0, rows * topK) },
          },
          states: {},
          weights: {
            weight: { rows: nExpert * OUTPUTS, cols: COLS, dtype, values, use: "matrix" },
          },
          record: (k, { inputs, weights }) => expertLinear(k, { ...inputs, ...weights, nExpert }),
        });
        return y;
      };
      const all = await multiply(ROWS, "int16");
      for (const rows of COUNTS)
        expect(await multiply(rows, "int8")).toEqual(all.slice(0, rows * topK * OUTPUTS));
    });
  });
});
