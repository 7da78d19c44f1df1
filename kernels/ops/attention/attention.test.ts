import { expect, test } from "vitest";
import type { StateLayout } from "../../spec/tensor.ts";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { type OpTrial, runOp } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { recordPlan } from "../../plan/recorder.ts";
import { split } from "../../spec/views.ts";
import { embedding } from "../embedding/embedding.ts";
import { attention } from "./attention.ts";

interface Shape {
  readonly positions: readonly number[];
  readonly length: number;
  readonly nHead: number;
  readonly nKvHead: number;
  readonly headDimK: number;
  readonly headDimV: number;
  readonly window?: number;
  readonly softCap?: number;
  readonly dtype?: "f32" | "f16";
}

const SCALE = 0.4;

function trial(shape: Shape): OpTrial<"q" | "k" | "v", "keys" | "values", never> {
  const { positions, length, nHead, nKvHead, headDimK, headDimV } = shape;
  const { window = null, softCap = null, dtype = "f32" } = shape;
  const random = seeded(positions.length + length + headDimK);
  const batch = positions.length;
  const rows = batch * length;
  const slot = (headDim: number) =>
    window === null
      ? {
          shape: [nKvHead, headDim],
          dtype,
          sequences: positions.map((position) => random.normal(position * nKvHead * headDim)),
        }
      : random.normal(batch * window * nKvHead * headDim);
  return {
    batch,
    length,
    position: positions,
    inputs: {
      q: { cols: nHead * headDimK, values: random.normal(rows * nHead * headDimK), margin: [1, 2] },
      k: { cols: nKvHead * headDimK, values: random.normal(rows * nKvHead * headDimK) },
      v: {
        cols: nKvHead * headDimV,
        values: random.normal(rows * nKvHead * headDimV),
        margin: [3, 0],
      },
    },
    states: { keys: slot(headDimK), values: slot(headDimV) },
    weights: {},
    record: (k, { inputs, states }) =>
      attention(k, {
        ...inputs,
        ...states,
        nHead,
        nKvHead,
        headDimK,
        headDimV,
        scale: SCALE,
        softCap,
        window,
      }),
  };
}

forEachBackend("attention", (backend) => {
  test("is the softmax's weighted mean of the values that a token sees", async () => {
    const [position, length, nHead, nKvHead, dK, dV] = [5, 3, 4, 2, 6, 5];
    const random = seeded(9);
    const q = random.normal(length * nHead * dK);
    // Keys and values of all tokens; the first five are in the slots.
    const keys = random.normal((position + length) * nKvHead * dK);
    const values = random.normal((position + length) * nKvHead * dV);
    const { y, states } = await runOp(backend(), {
      batch: 1,
      length,
      position,
      inputs: {
        q: { cols: nHead * dK, values: q },
        k: { cols: nKvHead * dK, values: keys.slice(position * nKvHead * dK) },
        v: { cols: nKvHead * dV, values: values.slice(position * nKvHead * dV) },
      },
      states: {
        keys: { shape: [nKvHead, dK], sequences: [keys.slice(0, position * nKvHead * dK)] },
        values: { shape: [nKvHead, dV], sequences: [values.slice(0, position * nKvHead * dV)] },
      },
      weights: {},
      record: (k, { inputs, states: slots }) =>
        attention(k, {
          ...inputs,
          ...slots,
          nHead,
          nKvHead,
          headDimK: dK,
          headDimV: dV,
          scale: SCALE,
          window: null,
        }),
    });
    const expected = new Float64Array(length * nHead * dV);
    for (let t = 0; t < length; t++) {
      for (let head = 0; head < nHead; head++) {
        const group = head < 2 ? 0 : 1;
        let total = 0;
        const sums = new Float64Array(dV);
        for (let s = 0; s <= position + t; s++) {
          let dot = 0;
          for (let i = 0; i < dK; i++)
            dot += q[(t * nHead + head) * dK + i] * keys[(s * nKvHead + group) * dK + i];
          const weight = Math.exp(SCALE * dot);
          total += weight;
          for (let i = 0; i < dV; i++) sums[i] += weight * values[(s * nKvHead + group) * dV + i];
        }
        expected.set(
          sums.map((sum) => sum / total),
          (t * nHead + head) * dV,
        );
      }
    }
    expectAllClose(y, expected, { absolute: 2e-6, relative: 0 }, "y");
    expect(states.keys).toEqual(keys);
    expect(states.values).toEqual(values);
  });

  const heads = { nHead: 4, nKvHead: 2, headDimK: 16, headDimV: 16 };
  test.each<[string, Shape]>([
    ["one token, nothing before", { ...heads, positions: [0], length: 1 }],
    ["one token, several tiles before", { ...heads, positions: [200], length: 1 }],
    ["a prompt", { ...heads, positions: [0], length: 70 }],
    ["a second chunk", { ...heads, positions: [65], length: 67 }],
    ["sequences at different positions", { ...heads, positions: [0, 130, 63, 64], length: 2 }],
    ["a head of its own each", { ...heads, nKvHead: 4, positions: [10], length: 20 }],
    ["one key head for all", { ...heads, nHead: 10, nKvHead: 1, positions: [80], length: 1 }],
    [
      "other sizes of keys and values, odd ones",
      { nHead: 6, nKvHead: 3, headDimK: 13, headDimV: 7, positions: [5, 70], length: 9 },
    ],
    [
      "heads larger than a workgroup",
      { nHead: 2, nKvHead: 1, headDimK: 72, headDimV: 130, positions: [3], length: 5 },
    ],
    ["a soft cap", { ...heads, positions: [20], length: 6, softCap: 1.5 }],
    ["f16 slots", { ...heads, positions: [70, 3], length: 5, dtype: "f16" }],
    [
      "f16 slots of odd sizes",
      {
        nHead: 6,
        nKvHead: 3,
        headDimK: 13,
        headDimV: 7,
        positions: [66],
        length: 3,
        dtype: "f16",
      },
    ],
    ["a window, its ring not yet full", { ...heads, positions: [0, 3], length: 4, window: 9 }],
    ["a window, its ring wrapping", { ...heads, positions: [30, 7], length: 5, window: 9 }],
    ["a chunk longer than the window", { ...heads, positions: [4, 100], length: 40, window: 9 }],
    ["one token in a long window", { ...heads, positions: [333, 40], length: 1, window: 150 }],
    ["a window of one", { ...heads, positions: [2], length: 3, window: 1 }],
  ])("agrees with the reference: %s", async (_, shape) => {
    // A f16 that a sum in f32 moves over a tie is one place off.
    const tolerance =
      shape.dtype === "f16" ? { absolute: 1e-5, relative: 1e-3 } : { absolute: 1e-5, relative: 0 };
    await expectLikeReference(backend(), trial(shape), tolerance);
  });

  test("gives the same for any cut into runs, over many pages", async () => {
    const [nHead, nKvHead, headDim, tokens] = [2, 1, 8, 700];
    const random = seeded(4);
    const inputs = random.normal(tokens * (nHead + 2 * nKvHead) * headDim);
    const layout: StateLayout = [
      { name: "keys", shape: [nKvHead, headDim], grows: true },
      { name: "values", shape: [nKvHead, headDim], grows: true },
    ];
    const width = (nHead + 2 * nKvHead) * headDim;
    const run = async (lengths: readonly number[]): Promise<Float32Array> => {
      const state = backend().createState(layout, 1);
      const y: number[] = [];
      for (let at = 0, index = 0; index < lengths.length; at += lengths[index++]) {
        const length = lengths[index];
        // The chunk's inputs come as a weight: rows of an embedding.
        const table = await backend().uploadWeight(
          { name: "inputs", dtype: "f32", rows: length, cols: width, use: "matrix" },
          async (first, count) => bytesOf(inputs, (at + first) * width, count * width),
        );
        const executable = await backend().compile(
          recordPlan({ batch: 1, length }, layout, (k) => {
            const x = embedding(k, table);
            const [q, key, value] = split(x, [
              nHead * headDim,
              nKvHead * headDim,
              nKvHead * headDim,
            ]);
            attention(
              { ...k, temporary: (rows, cols) => k.output(rows, cols) },
              {
                q,
                k: key,
                v: value,
                keys: k.state(0),
                values: k.state(1),
                nHead,
                nKvHead,
                headDimK: headDim,
                headDimV: headDim,
                scale: SCALE,
                window: null,
              },
            );
          }),
        );
        const ids = Int32Array.from({ length }, (__, t) => t);
        const [rows] = await executable.run(ids, state, true);
        y.push(...rows);
        executable.release();
      }
      expect([...state.positions]).toEqual([tokens]);
      state.release();
      return Float32Array.from(y);
    };
    const whole = await run([tokens]);
    const cut = await run([1, 255, 1, 300, 142, 1]);
    expectAllClose(cut, whole, { absolute: 1e-5, relative: 0 }, "y");
  });

  test("lets infinities and NaN through f16 slots", async () => {
    const single = { ...heads, nHead: 1, nKvHead: 1, headDimV: 9, positions: [1], length: 1 };
    const { states, ...rest } = trial({ ...single, dtype: "f16" });
    const odd = [Infinity, NaN, 65504, -70_000, 6e-8, -0, 1e-5, 2049, NaN];
    const { y } = await runOp(backend(), {
      ...rest,
      states: {
        keys: states.keys,
        values: { shape: [1, 9], dtype: "f16", sequences: [Float32Array.from(odd)] },
      },
    });
    expect(Array.from(y, (value) => Number.isFinite(value))).toEqual(
      [0, 0, 1, 0, 1, 1, 1, 1, 0].map(Boolean),
    );
  });

  test("refuses a slot that grows together with a window", async () => {
    const { states, ...rest } = trial({ ...heads, positions: [1], length: 1 });
    const windowed = runOp(backend(), {
      ...rest,
      states,
      record: (k, { inputs, states: slots }) =>
        attention(k, { ...inputs, ...slots, ...heads, scale: 1, window: 1 }),
    });
    await expect(windowed).rejects.toMatchObject({ name: "KernelError", code: "shape" });
  });
});

function bytesOf(values: Float32Array, from: number, count: number): Uint8Array {
  return new Uint8Array(values.slice(from, from + count).buffer);
}
