import { afterEach, describe, expect, test, vi } from "vitest";
import { causalConv1d } from "../../ops/causal-conv1d/causal-conv1d.ts";
import { embedding } from "../../ops/embedding/embedding.ts";
import { gatedRmsNorm } from "../../ops/gated-rms-norm/gated-rms-norm.ts";
import { linear } from "../../ops/linear/linear.ts";
import { rmsNorm } from "../../ops/rms-norm/rms-norm.ts";
import { ssd } from "../../ops/ssd/ssd.ts";
import { recordPlan } from "../../plan/recorder.ts";
import type { Backend, ThreadPort } from "../../spec/backend.ts";
import { packedRowBytes, type WeightDType } from "../../spec/dtype.ts";
import type { StateLayout, Weight } from "../../spec/tensor.ts";
import { split } from "../../spec/views.ts";
import { expectAllClose } from "../../testing/all-close.ts";
import { runOp } from "../../testing/op-runner.ts";
import { randomPacked } from "../../testing/pack.ts";
import { seeded } from "../../testing/seeded.ts";
import { spawnTestThread } from "../../testing/test-thread.ts";
import { createWasmBackend } from "./backend.ts";
import { START_MILLISECONDS } from "./team.ts";

const opened: Backend[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((backend) => backend.release()));
});

async function open(threads: number, relaxed = true): Promise<Backend> {
  const backend = await createWasmBackend({ threads, spawnThread: spawnTestThread, relaxed });
  opened.push(backend);
  return backend;
}

// Odd sizes on purpose: nothing is a multiple of a tile but the width that q8_0 asks for.
const D_MODEL = 64,
  HEADS = 3,
  HEAD_DIM = 22,
  D_STATE = 13,
  VOCAB = 75;
const D_INNER = HEADS * HEAD_DIM;
const CHANNELS = D_INNER + 2 * D_STATE;
const LAYOUT: StateLayout = [
  { name: "conv", shape: [CHANNELS, 3] },
  { name: "ssm", shape: [HEADS, HEAD_DIM, D_STATE] },
];

/** Runs a small Mamba-2 block with random weights: a prompt of T tokens, then one more token. */
async function runBlock(
  backend: Backend,
  dtype: WeightDType,
  batch = 2,
  length = 37,
): Promise<Float32Array[]> {
  const random = seeded(11);
  const upload = async (
    rows: number,
    cols: number,
    kind: WeightDType | "vector",
    spread: number,
  ): Promise<Weight> => {
    const bytes =
      kind === "vector"
        ? new Uint8Array(random.normal(rows * cols).map((v) => v * spread).buffer)
        : randomPacked(random, kind, rows, cols, spread);
    const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const rowBytes = view.byteLength / rows;
    const spec = {
      name: "w",
      rows,
      cols,
      ...(kind === "vector"
        ? ({ dtype: "f32", use: "vector" } as const)
        : ({ dtype: kind, use: "matrix" } as const)),
    };
    return backend.uploadWeight(spec, async (first, count) =>
      view.slice(first * rowBytes, (first + count) * rowBytes),
    );
  };
  const table = await upload(VOCAB, D_MODEL, dtype, 1);
  const norm = await upload(1, D_MODEL, "vector", 1);
  const project = await upload(D_INNER + CHANNELS + HEADS, D_MODEL, dtype, 0.125);
  const conv = await upload(CHANNELS, 4, "vector", 0.5);
  const A = await upload(1, HEADS, "vector", 0.5);
  const gateNorm = await upload(1, D_INNER, "vector", 1);
  const out = await upload(D_MODEL, D_INNER, dtype === "q8_0" ? "f16" : dtype, 0.125);
  const state = backend.createState(LAYOUT, batch);
  const outputs: Float32Array[] = [];
  for (const T of [length, 1]) {
    const plan = recordPlan({ batch, length: T }, LAYOUT, (k) => {
      const x = embedding(k, table);
      const [z, xBC, dtRaw] = split(
        linear(k, rmsNorm(k, { x, weight: norm, eps: 1e-5 }), project),
        [D_INNER, CHANNELS, HEADS],
      );
      if (z === undefined || xBC === undefined || dtRaw === undefined)
        throw new Error("no projection");
      const mixed = causalConv1d(k, {
        x: xBC,
        weight: conv,
        bias: null,
        state: k.state(0),
        silu: true,
      });
      const [value, B, C] = split(mixed, [D_INNER, D_STATE, D_STATE]);
      if (value === undefined || B === undefined || C === undefined)
        throw new Error("no convolution");
      const y = ssd(k, {
        x: value,
        dtRaw,
        dtBias: null,
        dtSoftplus: true,
        dtMin: 0,
        dtMax: Infinity,
        A,
        B,
        C,
        D: null,
        z: null,
        state: k.state(1),
        nGroup: 1,
        chunkSize: 16,
      });
      const gated = gatedRmsNorm(k, { x: y, z, weight: gateNorm, eps: 1e-5, groupSize: D_INNER });
      linear(k, linear(k, gated, out, { residual: x }), table, {
        into: k.output(batch * T, VOCAB),
      });
    });
    const executable = await backend.compile(plan);
    const ids = Int32Array.from({ length: batch * T }, (_, at) => (at * 31 + 5) % VOCAB);
    outputs.push(...(await executable.run(ids, state, true)));
    executable.release();
  }
  for (let b = 0; b < batch; b++) outputs.push(...(await backend.readState(state, b)));
  state.release();
  return outputs;
}

describe("weights in blocks", () => {
  const COLS = 512;

  test.each(["q8_0", "q4_0", "q4_k", "q5_k", "q6_k"] as const)(
    "take the file's bytes and 6 % more at most, and give each row of %s alone what it gives among others",
    async (dtype) => {
      const backend = await open(1);
      const random = seeded(5);
      const [rows, length] = [64, 6];
      const values = randomPacked(random, dtype, rows, COLS, 0.1);
      const x = random.normal(length * COLS);
      const multiply = async (count: number, from: number): Promise<Float32Array> => {
        const { y } = await runOp(backend, {
          batch: 1,
          length: count,
          inputs: { x: { cols: COLS, values: x.slice(from * COLS, (from + count) * COLS) } },
          states: {},
          weights: { weight: { rows, cols: COLS, dtype, values } },
          record: (k, { inputs, weights }) => linear(k, inputs.x, weights.weight),
        });
        return y;
      };
      const all = await multiply(length, 0);
      expect(backend.memory().weights).toBeLessThan(1.06 * values.byteLength);
      for (let row = 0; row < length; row++)
        expect(await multiply(1, row)).toEqual(all.slice(row * rows, (row + 1) * rows));
    },
  );

  test.each([
    { dtype: "f16", at: 6 },
    { dtype: "q8_0", at: 34 },
    { dtype: "q4_0", at: 18 },
    { dtype: "q4_k", at: 146 },
    { dtype: "q5_k", at: 176 },
    { dtype: "q6_k", at: 418 },
  ] as const)("are refused where a factor of $dtype is infinite", async ({ dtype, at }) => {
    const backend = await open(1);
    const values = randomPacked(seeded(5), dtype, 3, COLS, 0.1);
    new DataView(values.buffer).setUint16(at, 0xfc00, true);
    const rowBytes = packedRowBytes(dtype, COLS);
    const upload = backend.uploadWeight(
      { name: "w", dtype, rows: 3, cols: COLS, use: "matrix" },
      async (first, count) => values.slice(first * rowBytes, (first + count) * rowBytes),
    );
    await expect(upload).rejects.toMatchObject({ name: "KernelError", code: "dtype" });
    expect(backend.memory().weights).toBe(0);
  });

  test("are refused where a row is not whole blocks", async () => {
    const backend = await open(1);
    const upload = backend.uploadWeight(
      { name: "w", dtype: "q4_k", rows: 3, cols: 128, use: "matrix" },
      async () => new Uint8Array(3 * 72),
    );
    await expect(upload).rejects.toMatchObject({ name: "KernelError", code: "shape" });
  });
});

describe("threads", () => {
  test.each(["f32", "f16", "bf16", "q8_0"] as const)(
    "give bit for bit what one thread gives: %s",
    async (dtype) => {
      const alone = await runBlock(await open(1), dtype);
      for (const threads of [2, 5])
        expect(await runBlock(await open(threads), dtype)).toEqual(alone);
    },
  );

  test("give the same in every run, also right after each other", async () => {
    const backend = await open(3);
    const first = await runBlock(backend, "q8_0");
    for (let i = 0; i < 20; i++) expect(await runBlock(backend, "q8_0")).toEqual(first);
  });

  test("that do not start make a typed error", async () => {
    const spawnThread = (): ThreadPort => {
      let report: ((error: Error) => void) | undefined;
      return {
        postMessage: () => report?.(new Error("no such file")),
        onMessage: () => {},
        onError: (listener) => void (report = listener),
        terminate: () => {},
      };
    };
    await expect(createWasmBackend({ threads: 2, spawnThread })).rejects.toMatchObject({
      code: "backend",
      message: expect.stringContaining("no such file"),
    });
  });

  test("that are never heard of make a typed error too, and are ended", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const terminate = vi.fn<() => void>();
      const asked = Promise.withResolvers<void>();
      const spawnThread = (): ThreadPort => ({
        postMessage: () => asked.resolve(),
        onMessage: () => {},
        onError: () => {},
        terminate,
      });
      const refused = expect(createWasmBackend({ threads: 2, spawnThread })).rejects.toMatchObject({
        code: "backend",
        message: expect.stringContaining("thread 1 of 2 does not run: it was not ready after"),
      });
      await asked.promise;
      vi.advanceTimersByTime(START_MILLISECONDS);
      await refused;
      expect(terminate).toHaveBeenCalledOnce();
    } finally {
      vi.useRealTimers();
    }
  });

  test("that die later make every run a typed error, and no hang", async () => {
    const reports: ((error: Error) => void)[] = [];
    const spawnThread = (): ThreadPort => {
      const port = spawnTestThread();
      return { ...port, onError: (listener) => void reports.push(listener) };
    };
    const backend = await createWasmBackend({ threads: 2, spawnThread });
    opened.push(backend);
    for (const report of reports) report(new Error("killed by the system"));
    await expect(runBlock(backend, "f32")).rejects.toMatchObject({
      code: "device-lost",
      message: expect.stringContaining("killed by the system"),
    });
  });
});

test.each([
  { dtype: "f32", tolerance: 2e-4 },
  // One activation that is rounded to the other side is a step of 1/32767.
  { dtype: "q8_0", tolerance: 2e-3 },
] as const)(
  "the kernels without relaxed SIMD agree with those that use it: $dtype",
  async ({ dtype, tolerance }) => {
    const backend = await open(2, false);
    expect(backend.device.features).not.toContain("relaxed-simd");
    // Fewer rows than some CPUs round to 8 bits.
    const plain = await runBlock(backend, dtype, 2, 15);
    const relaxed = await runBlock(await open(2), dtype, 2, 15);
    plain.forEach((values, index) =>
      expectAllClose(
        values,
        relaxed[index] ?? [],
        { absolute: tolerance, relative: tolerance },
        `array ${index}`,
      ),
    );
  },
);

test("counts what it holds, and gives back what is released", async () => {
  const backend = await open(1);
  expect(backend.memory()).toEqual({ weights: 0, states: 0, workspace: 0 });
  const state = backend.createState(LAYOUT, 4);
  expect(backend.memory().states).toBeGreaterThanOrEqual(
    4 * 4 * (CHANNELS * 3 + D_INNER * D_STATE),
  );
  state.release();
  state.release();
  expect(backend.memory().states).toBe(0);
  await runBlock(backend, "f32");
  const { workspace, weights } = backend.memory();
  expect(weights).toBeGreaterThan(4 * VOCAB * D_MODEL);
  await runBlock(backend, "f32");
  // Only each thread's scratch memory stays.
  expect(backend.memory().workspace).toBe(workspace);
});

describe("what does not fit", () => {
  const spec = { name: "blk.0.weight", rows: 8, cols: 32, dtype: "q8_0", use: "matrix" } as const;
  test.each([
    ["rows of the wrong length", spec, 33 * 8, "shape"],
    ["a q8_0 width that is no multiple of 32", { ...spec, cols: 33 }, 34 * 8, "shape"],
    ["no rows", { ...spec, rows: 0 }, 0, "shape"],
    ["a vector that is not f32", { ...spec, use: "vector" as const }, 34 * 8, "dtype"],
    ["more than WebAssembly can address", { ...spec, rows: 2 ** 30 }, 0, "out-of-memory"],
  ])("is refused: %s", async (_, weight, bytes, code) => {
    const backend = await open(1);
    await expect(
      backend.uploadWeight(weight, async () => new Uint8Array(bytes)),
    ).rejects.toMatchObject({ name: "KernelError", code });
    expect(backend.memory().weights).toBe(0);
  });

  test("is refused: a scale that is infinite", async () => {
    const backend = await open(1);
    const bytes = new Uint8Array(34 * 8);
    bytes[1] = 0x7c;
    await expect(backend.uploadWeight(spec, async () => bytes)).rejects.toMatchObject({
      code: "dtype",
    });
  });

  test("is refused: another backend's states, a released state, other sizes", async () => {
    const [mine, other] = [await open(1), await open(1)];
    const plan = recordPlan({ batch: 1, length: 1 }, LAYOUT, () => {});
    const executable = await mine.compile(plan);
    const foreign = other.createState(LAYOUT, 1);
    await expect(executable.run(new Int32Array(1), foreign, true)).rejects.toMatchObject({
      code: "backend",
    });
    await expect(
      executable.run(new Int32Array(2), mine.createState(LAYOUT, 1), true),
    ).rejects.toMatchObject({ code: "shape" });
    const state = mine.createState(LAYOUT, 1);
    await expect(mine.writeState(state, 0, [new Float32Array(1)], 0)).rejects.toMatchObject({
      code: "shape",
    });
    await expect(mine.readState(state, 1)).rejects.toMatchObject({ code: "shape" });
    state.release();
    await expect(mine.readState(state, 0)).rejects.toMatchObject({ code: "backend" });
  });
});
