import { describe, expect, test } from "vitest";
import { embedding } from "../../ops/embedding/embedding.ts";
import { expertLinear } from "../../ops/expert-linear/expert-linear.ts";
import { linear } from "../../ops/linear/linear.ts";
import { recordPlan } from "../../plan/recorder.ts";
import type { Backend } from "../../spec/backend.ts";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { gpuWith, plainGpu } from "../../testing/gpu-with.ts";
import { opTrials } from "../../testing/op-trials.ts";
import { randomPacked } from "../../testing/pack.ts";
import { seeded } from "../../testing/seeded.ts";
import { softwareGpu } from "../../testing/software-gpu.ts";
import type { ReadRows, StateLayout } from "../../spec/tensor.ts";
import { kernelTolerance } from "../../testing/tolerances.ts";
import { createReferenceBackend } from "../reference/backend.ts";
import { createWebGpuBackend } from "./backend.ts";

const LAYOUT: StateLayout = [{ name: "layers.0.ssm", shape: [3, 5] }];

async function open(gpu: GPU): Promise<Backend> {
  const backend = await createWebGpuBackend({ gpu, allowSoftware: true });
  if (backend === null) throw new Error('no adapter: install the Debian package "chromium"');
  return backend;
}

/** Rows of an f32 matrix, as a file would give them. */
function rowsOf(values: Float32Array, cols: number): ReadRows {
  return async (first, count) =>
    new Uint8Array(values.slice(first * cols, (first + count) * cols).buffer);
}

/** Looks ids up in a table and multiplies the rows by the table: y[t, r] = table[ids[t]] · table[r]. */
async function lookUpAndMultiply(
  backend: Backend,
  table: Float32Array,
  cols: number,
  ids: Int32Array,
): Promise<Float32Array> {
  const rows = table.length / cols;
  const weight = await backend.uploadWeight(
    { name: "table", dtype: "f32", rows, cols, use: "matrix" },
    rowsOf(table, cols),
  );
  const plan = recordPlan({ batch: 1, length: ids.length }, [], (k) => {
    linear(k, embedding(k, weight), weight, { into: k.output(ids.length, rows) });
  });
  const executable = await backend.compile(plan);
  const [y] = await executable.run(ids, backend.createState([], 1), true);
  return y;
}

describe("the adapter", () => {
  test("is refused when it is software and was not asked for", async () => {
    expect(
      await createWebGpuBackend({ gpu: await softwareGpu(), allowSoftware: false }),
    ).toBeNull();
  });

  test("is taken when software will do, and says so", async () => {
    const backend = await open(await softwareGpu());
    expect(backend.device).toMatchObject({ backend: "webgpu", software: true });
    expect(backend.device.name).toMatch(/swiftshader/i);
    await backend.release();
  });

  test("may be missing", async () => {
    const none = new Proxy(await softwareGpu(), { get: () => async () => null });
    expect(await createWebGpuBackend({ gpu: none, allowSoftware: true })).toBeNull();
  });
});

describe("a GPU without subgroups", () => {
  // Sums then go through workgroup memory; a device that is not software also gets wider workgroups.
  test.each([
    "rms-norm",
    "gated-rms-norm",
    "linear, one row of f16",
    "linear, three rows of bf16",
    "linear, one row of q5_k",
    "ssd, decode",
    "rms-norm, by groups",
    "layer-norm",
    "block-linear",
    "rope",
    "attention, decode",
    "route",
    "expert-linear, few tokens",
  ])("computes the same: %s", async (name) => {
    const gpu = await plainGpu();
    const backend = await createWebGpuBackend({ gpu, allowSoftware: false });
    if (backend === null) throw new Error("the adapter was refused");
    expect(backend.device).toMatchObject({ name: "Plain GPU", software: false, features: [] });
    const reference = createReferenceBackend();
    const expected = await opTrials[name](reference);
    const actual = await opTrials[name](backend);
    expectAllClose(actual.y, expected.y, kernelTolerance(expected.y, 1), "y");
    await backend.release();
  });
});

describe("a weight larger than a binding", () => {
  test("is split by rows, and computes the same", async () => {
    const cols = 64;
    const table = seeded(7).uniform(40 * cols, -0.5, 0.5);
    const ids = Int32Array.of(0, 39, 12, 13, 14, 30);
    const whole = await open(await softwareGpu());
    const expected = await lookUpAndMultiply(whole, table, cols, ids);
    await whole.release();

    // 13 rows of 256 bytes a part, and 256 bytes for alignment: 4 parts.
    const split = await open(
      gpuWith(await softwareGpu(), { limits: { maxStorageBufferBindingSize: 14 * 256 } }),
    );
    expect(await lookUpAndMultiply(split, table, cols, ids)).toEqual(expected);
    await split.release();
  });

  test("is split with what its blocks share", async () => {
    const [rows, cols] = [80, 256];
    const random = seeded(8);
    const values = randomPacked(random, "q6_k", rows, cols, 0.05);
    // A row has 128 bytes of values and 84 of scales and further bits: 36 rows a part.
    const split = await open(
      gpuWith(await softwareGpu(), { limits: { maxStorageBufferBindingSize: 8000 } }),
    );
    await expectLikeReference(split, {
      batch: 1,
      length: 2,
      inputs: { x: { cols, values: random.normal(2 * cols) } },
      states: {},
      weights: { weight: { rows, cols, dtype: "q6_k", values } },
      record: (k, { inputs, weights }) => linear(k, inputs.x, weights.weight),
    });
    await split.release();
  });

  // By expert-linear.wgsl, and by expert-tiled.wgsl. 111 rows of 512 bytes a part: the second expert is in two.
  test.each([1, 16])("is split through its experts: %i tokens", async (length) => {
    const [nExpert, outputs, cols, topK] = [2, 100, 128, 2];
    const random = seeded(9);
    const split = await open(
      gpuWith(await softwareGpu(), { limits: { maxStorageBufferBindingSize: 112 * 512 } }),
    );
    const numbers = Float32Array.from(random.integers(length * topK, nExpert + 1));
    for (const weighted of [false, true]) {
      await expectLikeReference(split, {
        batch: 1,
        length,
        inputs: {
          x: { cols, values: random.normal(length * cols) },
          experts: { cols: topK, values: numbers },
          weights: { cols: topK, values: random.normal(length * topK) },
          residual: { cols: outputs, values: random.normal(length * outputs) },
        },
        states: {},
        weights: {
          weight: {
            rows: nExpert * outputs,
            cols,
            values: random.normal(nExpert * outputs * cols),
            use: "matrix",
          },
        },
        record: (k, { inputs, weights: { weight } }) =>
          expertLinear(k, {
            x: inputs.x,
            weight,
            nExpert,
            experts: inputs.experts,
            weights: weighted ? inputs.weights : null,
            residual: weighted ? inputs.residual : null,
          }),
      });
    }
    await split.release();
  });

  test("is refused with its name when not even a row fits", async () => {
    const backend = await open(
      gpuWith(await softwareGpu(), { limits: { maxStorageBufferBindingSize: 512 } }),
    );
    const upload = backend.uploadWeight(
      { name: "embeddings", dtype: "f32", rows: 2, cols: 256, use: "matrix" },
      rowsOf(new Float32Array(512), 256),
    );
    await expect(upload).rejects.toMatchObject({
      name: "KernelError",
      code: "out-of-memory",
      message: expect.stringContaining("embeddings"),
    });
    await backend.release();
  });
});

describe("weights that do not fit their description", () => {
  test("are refused, and leave no memory behind", async () => {
    const backend = await open(await softwareGpu());
    const short: ReadRows = async () => new Uint8Array(3);
    await expect(
      backend.uploadWeight({ name: "w", dtype: "f16", rows: 2, cols: 8, use: "matrix" }, short),
    ).rejects.toMatchObject({ code: "shape" });
    await expect(
      backend.uploadWeight({ name: "w", dtype: "q8_0", rows: 1, cols: 33, use: "matrix" }, short),
    ).rejects.toMatchObject({ code: "shape" });
    await expect(
      backend.uploadWeight({ name: "w", dtype: "f16", rows: 1, cols: 8, use: "vector" }, short),
    ).rejects.toMatchObject({ code: "dtype" });
    expect(backend.memory().weights).toBe(0);
    await backend.release();
  });
});

describe("a state", () => {
  test("starts at zero, and keeps what each sequence was given", async () => {
    const backend = await open(await softwareGpu());
    const state = backend.createState(LAYOUT, 2);
    const values = [Float32Array.from({ length: 15 }, (_, i) => i / 3)];
    await backend.writeState(state, 1, values, 3);
    expect(await backend.readState(state, 0)).toEqual([new Float32Array(15)]);
    expect(await backend.readState(state, 1)).toEqual(values);
    await expect(backend.readState(state, 2)).rejects.toMatchObject({ code: "shape" });
    await expect(backend.writeState(state, 0, [new Float32Array(14)], 3)).rejects.toMatchObject({
      code: "shape",
    });
    expect(backend.memory().states).toBe(2 * 15 * 4);
    state.release();
    expect(backend.memory().states).toBe(0);
    await expect(backend.readState(state, 0)).rejects.toMatchObject({ code: "backend" });
    await backend.release();
  });

  test("leaves its memory to the next of its layout, as zeros, or to whatever needs as much", async () => {
    const backend = await open(await softwareGpu());
    const state = backend.createState(LAYOUT, 1);
    const [bytes, least] = [15 * 4, 16];
    const other = backend.createState([{ name: "layers.0.conv", shape: [1, 3] }], 1);
    await backend.writeState(state, 0, [new Float32Array(15).fill(7)], 3);
    await backend.readState(state, 0);
    const { workspace } = backend.memory();
    state.release();
    await backend.readState(other, 0);
    expect(backend.memory()).toEqual({ weights: 0, states: least, workspace: workspace + bytes });
    const next = backend.createState(LAYOUT, 1);
    expect(backend.memory()).toEqual({ weights: 0, states: bytes + least, workspace });
    expect([...next.positions]).toEqual([0]);
    expect(await backend.readState(next, 0)).toEqual([new Float32Array(15)]);
    await expect(backend.readState(state, 0)).rejects.toMatchObject({ code: "backend" });
    state.release();
    next.release();
    await backend.readState(other, 0);
    backend.createState(LAYOUT, 2);
    expect(backend.memory()).toEqual({ weights: 0, states: 2 * bytes + least, workspace });
    await backend.release();
  });

  // All slots share a buffer, or have one of two, as the binding allows.
  test.each([1e6, 1000])(
    "of several slots keeps them apart: bindings of %i bytes",
    async (most) => {
      const gpu = gpuWith(await softwareGpu(), { limits: { maxStorageBufferBindingSize: most } });
      const backend = await open(gpu);
      const layout: StateLayout = [
        { name: "layers.0.conv", shape: [5, 3] },
        { name: "layers.0.keys", shape: [4], grows: true },
        { name: "layers.0.ssm", shape: [7, 11] },
        { name: "layers.1.conv", shape: [5, 3] },
      ];
      const random = seeded(9);
      const valuesOf = () => [15, 8, 77, 15].map((count) => random.normal(count));
      const [one, other] = [valuesOf(), valuesOf()];
      const [pair, alone, copy] = [2, 1, 1].map((batch) => backend.createState(layout, batch));
      await backend.writeState(pair, 0, one, 2);
      await backend.writeState(pair, 1, other, 2);
      await backend.copyState(pair, 1, alone, 0);
      await backend.copyState(alone, 0, copy, 0);
      expect(await backend.readState(pair, 0)).toEqual(one);
      expect(await backend.readState(pair, 1)).toEqual(other);
      expect(await backend.readState(copy, 0)).toEqual(other);
      for (const state of [pair, alone, copy]) state.release();
      expect(backend.memory().states).toBe(0);
      await backend.release();
    },
  );

  test("larger than the GPU's buffers is out of memory", async () => {
    const backend = await open(await softwareGpu());
    const layout: StateLayout = [{ name: "layers.0.ssm", shape: [2 ** 20, 2 ** 20] }];
    expect(() => backend.createState(layout, 1)).toThrow(
      expect.objectContaining({ name: "KernelError", code: "out-of-memory" }),
    );
    await backend.release();
  });
});

describe("a lost device", () => {
  test("rejects the run it happens in, and every later call", async () => {
    let device: GPUDevice | undefined;
    const gpu = gpuWith(await softwareGpu(), { onDevice: (made) => (device = made) });
    const backend = await open(gpu);
    const cols = 32;
    const weight = await backend.uploadWeight(
      { name: "table", dtype: "f32", rows: 4, cols, use: "matrix" },
      rowsOf(new Float32Array(4 * cols), cols),
    );
    const plan = recordPlan({ batch: 1, length: 1 }, LAYOUT, (k) => {
      linear(k, embedding(k, weight), weight, { into: k.output(1, 4) });
    });
    const executable = await backend.compile(plan);
    const state = backend.createState(LAYOUT, 1);
    const running = executable.run(Int32Array.of(1), state, true);
    device?.destroy();
    const lost = { name: "KernelError", code: "device-lost" };
    await expect(running).rejects.toMatchObject(lost);
    await expect(executable.run(Int32Array.of(1), state, true)).rejects.toMatchObject(lost);
    await expect(backend.readState(state, 0)).rejects.toMatchObject(lost);
    await expect(backend.compile(plan)).rejects.toMatchObject(lost);
    expect(() => backend.createState(LAYOUT, 1)).toThrow(expect.objectContaining(lost));
  });

  test("is what a released backend reports", async () => {
    const backend = await open(await softwareGpu());
    await backend.release();
    expect(() => backend.createState(LAYOUT, 1)).toThrow(
      expect.objectContaining({ code: "device-lost" }),
    );
    expect(backend.memory()).toEqual({ weights: 0, states: 0, workspace: 0 });
  });
});

describe("an error of the device that no call was waiting for", () => {
  test("rejects the next run, once", async () => {
    let device: GPUDevice | undefined;
    const gpu = gpuWith(await softwareGpu(), { onDevice: (made) => (device = made) });
    const backend = await open(gpu);
    const state = backend.createState(LAYOUT, 1);
    device?.createBuffer({ size: 4, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE });
    await expect(backend.readState(state, 0)).rejects.toMatchObject({
      name: "KernelError",
      code: "backend",
    });
    expect(await backend.readState(state, 0)).toEqual([new Float32Array(15)]);
    await backend.release();
  });
});

describe("an op without kernels", () => {
  test("is refused when the plan is compiled", async () => {
    const backend = await open(await softwareGpu());
    const plan = recordPlan({ batch: 1, length: 1 }, [], (k) =>
      k.record({ name: "no-such-op", access: {} }, {}),
    );
    await expect(backend.compile(plan)).rejects.toMatchObject({
      code: "unsupported",
      details: { op: "no-such-op" },
    });
    await backend.release();
  });
});
