// How fast the ops that decide are, in the default model's shapes and in those of a 130m model:
// npx vitest bench --run -c e2e/vitest.config.ts --project "node (bench)" kernels/backends/wasm
import { availableParallelism } from "node:os";
import { afterAll, expect, test } from "vitest";
import { linear } from "../../ops/linear/linear.ts";
import { selectiveScan } from "../../ops/selective-scan/selective-scan.ts";
import { ssd } from "../../ops/ssd/ssd.ts";
import { recordPlan } from "../../plan/recorder.ts";
import { packedRowBytes, type WeightDType } from "../../spec/dtype.ts";
import type { Recorder } from "../../spec/op.ts";
import { slotSize, type StateLayout, type Tensor, type Weight } from "../../spec/tensor.ts";
import { columns } from "../../spec/views.ts";
import { randomPacked } from "../../testing/pack.ts";
import { seeded } from "../../testing/seeded.ts";
import { spawnTestThread } from "../../testing/test-thread.ts";
import { createWasmBackend } from "./backend.ts";

const threads = availableParallelism();
const random = seeded(3);
const backend = await createWasmBackend({ threads, spawnThread: spawnTestThread });
afterAll(() => backend.release());

async function upload(
  dtype: WeightDType,
  rows: number,
  cols: number,
  use: "matrix" | "vector" = "matrix",
): Promise<Weight> {
  const bytes = randomPacked(random, dtype, rows, cols, 1 / Math.sqrt(cols));
  // Vectors are A and D here: A must be negative for the states to stay finite.
  if (use === "vector")
    new Float32Array(bytes.buffer).forEach(
      (value, index, all) => void (all[index] = -Math.abs(value)),
    );
  const rowBytes = bytes.byteLength / rows;
  return backend.uploadWeight({ name: "weight", dtype, rows, cols, use }, async (first, count) =>
    bytes.slice(first * rowBytes, (first + count) * rowBytes),
  );
}

/** Times one op alone, on inputs that are states, so that no other op is needed to fill them; prints the best of 20 runs. */
async function time(
  name: string,
  amounts: readonly { readonly count: number; readonly unit: string }[],
  length: number,
  layout: StateLayout,
  build: (k: Recorder) => void,
): Promise<void> {
  const executable = await backend.compile(recordPlan({ batch: 1, length }, layout, build));
  const state = backend.createState(layout, 1);
  await backend.writeState(
    state,
    0,
    layout.map((slot) => random.normal(slotSize(slot))),
    0,
  );
  const ids = new Int32Array(length);
  const run = async (): Promise<number> => {
    const start = performance.now();
    await executable.run(ids, state, false);
    return performance.now() - start;
  };
  // The first runs are compiled quickly, the later ones well.
  for (let i = 0; i < 300 && (await run()) < 100; i++);
  let best = Infinity;
  for (let i = 0; i < 20; i++) best = Math.min(best, await run());
  console.log(
    `${name}: ${(best * 1000).toFixed(0)} µs, ${amounts
      .map(({ count, unit }) => `${(count / best / 1e6).toFixed(1)} ${unit}`)
      .join(", ")}`,
  );
  expect(best).toBeLessThan(Infinity);
  state.release();
  executable.release();
}

/** State `index` as T rows: the layout holds one row of T × cols. */
function rows(k: Recorder, index: number, length: number): Tensor {
  const all = k.state(index);
  return { ...all, rows: length, cols: all.cols / length, stride: all.cols / length };
}

const NARROW: readonly WeightDType[] = ["q8_0", "f16", "f32"];
const BLOCKS: readonly WeightDType[] = ["q8_0", "q4_0", "q4_k", "q5_k", "q6_k"];

test.each(
  [
    { K: 512, R: 2320, dtypes: NARROW },
    { K: 1024, R: 512, dtypes: NARROW },
    { K: 768, R: 3352, dtypes: [...BLOCKS, "f16", "f32"] as const },
    { K: 2560, R: 5120, dtypes: BLOCKS },
  ].flatMap(({ K, R, dtypes }) => dtypes.map((dtype) => ({ K, R, dtype }))),
)("linear $dtype $K → $R", async ({ K, R, dtype }) => {
  const weight = await upload(dtype, R, K);
  for (const T of [1, 128]) {
    const amount = { count: T * K * R, unit: "G multiply-adds/s" };
    const read = { count: R * packedRowBytes(dtype, K), unit: "GB/s of weights" };
    await time(
      `${dtype} ${T} × ${K} → ${R}`,
      T === 1 ? [amount, read] : [amount],
      T,
      [{ name: "x", shape: [T, K] }],
      (k) => void linear(k, rows(k, 0, T), weight),
    );
  }
});

test.each([{ heads: 16 }, { heads: 24 }])("ssd with $heads heads", async ({ heads }) => {
  const [headDim, dState] = [64, 128];
  const dInner = heads * headDim;
  const A = await upload("f32", 1, heads, "vector");
  for (const T of [1, 128]) {
    const layout: StateLayout = [
      { name: "ssm", shape: [heads, headDim, dState] },
      { name: "x", shape: [T, dInner] },
      { name: "BC", shape: [T, 2 * dState] },
      { name: "dt", shape: [T, heads] },
    ];
    await time(
      `${T} tokens`,
      [{ count: T * dInner * dState, unit: "G state values/s" }],
      T,
      layout,
      (k) => {
        const [B, C] = [columns(rows(k, 2, T), 0, dState), columns(rows(k, 2, T), dState, dState)];
        ssd(k, {
          x: rows(k, 1, T),
          dtRaw: rows(k, 3, T),
          dtBias: null,
          dtSoftplus: true,
          dtMin: 0,
          dtMax: Infinity,
          A,
          B,
          C,
          D: null,
          z: null,
          state: k.state(0),
          nGroup: 1,
          chunkSize: 256,
        });
      },
    );
  }
});

test("selective-scan", async () => {
  const [dInner, dState] = [1536, 16];
  const A = await upload("f32", dInner, dState, "vector");
  for (const T of [1, 128]) {
    const layout: StateLayout = [
      { name: "ssm", shape: [dInner, dState] },
      { name: "x", shape: [T, dInner] },
      { name: "dt", shape: [T, dInner] },
      { name: "BC", shape: [T, 2 * dState] },
    ];
    await time(
      `${T} tokens`,
      [{ count: T * dInner * dState, unit: "G state values/s" }],
      T,
      layout,
      (k) => {
        const [B, C] = [columns(rows(k, 3, T), 0, dState), columns(rows(k, 3, T), dState, dState)];
        selectiveScan(k, {
          x: rows(k, 1, T),
          dtRaw: rows(k, 2, T),
          dtBias: null,
          dtSoftplus: true,
          A,
          B,
          C,
          D: null,
          z: null,
          state: k.state(0),
          nGroup: 1,
        });
      },
    );
  }
});
