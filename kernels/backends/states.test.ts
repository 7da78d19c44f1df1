import { expect, test } from "vitest";
import { attention } from "../ops/attention/attention.ts";
import { recordPlan } from "../plan/recorder.ts";
import type { Backend, StateBuffers } from "../spec/backend.ts";
import type { Recorder } from "../spec/op.ts";
import type { StateLayout } from "../spec/tensor.ts";
import { forEachBackend } from "../testing/for-each-backend.ts";
import { seeded } from "../testing/seeded.ts";

const HEAD_DIM = 5;
const LAYOUT: StateLayout = [
  { name: "ring", shape: [3] },
  { name: "keys", shape: [1, HEAD_DIM], grows: true },
  { name: "values", shape: [1, HEAD_DIM], grows: true },
];

/** One head that asks for zeros, in the slots of LAYOUT. */
function attendToZeros(k: Recorder): void {
  const x = k.output(k.batch * k.length, HEAD_DIM);
  const sizes = { nHead: 1, nKvHead: 1, headDimK: HEAD_DIM, headDimV: HEAD_DIM };
  const slots = { keys: k.state(1), values: k.state(2) };
  attention(k, { q: x, k: x, v: x, ...slots, ...sizes, scale: 1, window: null });
}

/** Feeds `length` tokens of zeros. */
async function feed(
  backend: Backend,
  state: StateBuffers,
  length: number,
  layout: StateLayout = LAYOUT,
): Promise<void> {
  const plan = recordPlan({ batch: state.batch, length }, layout, (k) => {
    if (layout === LAYOUT) attendToZeros(k);
  });
  const executable = await backend.compile(plan);
  try {
    await executable.run(new Int32Array(state.batch * length), state, false);
  } finally {
    executable.release();
  }
}

forEachBackend("a state that grows", (backend) => {
  test("takes memory as tokens come, and gives it back", async () => {
    const before = backend().memory().states;
    const state = backend().createState(LAYOUT, 2);
    const empty = backend().memory().states;
    await feed(backend(), state, 3);
    const few = backend().memory().states;
    expect(few).toBeGreaterThanOrEqual(empty + 2 * 2 * 3 * HEAD_DIM * 4);
    await feed(backend(), state, 300);
    expect(backend().memory().states).toBeGreaterThanOrEqual(few + 2 * 2 * 200 * HEAD_DIM * 4);
    expect([...state.positions]).toEqual([303, 303]);
    state.release();
    expect(backend().memory().states).toBe(before);
  });

  test("needs no more workspace for more tokens", async () => {
    const state = backend().createState(LAYOUT, 1);
    const plan = recordPlan({ batch: 1, length: 4 }, LAYOUT, (k) => attendToZeros(k));
    const executable = await backend().compile(plan);
    await executable.run(new Int32Array(4), state, false);
    const { workspace } = backend().memory();
    const values = [3, 600 * HEAD_DIM, 600 * HEAD_DIM].map((count) => new Float32Array(count));
    await backend().writeState(state, 0, values, 600);
    await executable.run(new Int32Array(4), state, false);
    expect(backend().memory().workspace).toBe(workspace);
    executable.release();
    state.release();
  });

  test.each(["f32", "f16"] as const)("reads back what was written, as %s", async (dtype) => {
    const random = seeded(3);
    const layout = LAYOUT.map((slot) => (slot.grows === true ? { ...slot, dtype } : slot));
    const state = backend().createState(layout, 2);
    const valuesOf = (position: number): Float32Array[] => [
      random.normal(3),
      random.normal(position * HEAD_DIM),
      random.normal(position * HEAD_DIM),
    ];
    const kept = (values: readonly Float32Array[]): Float32Array[] =>
      values.map((array, slot) =>
        slot === 0 || dtype === "f32" ? array : Float32Array.from(Float16Array.from(array)),
      );
    const [first, other, later] = [valuesOf(700), valuesOf(64), valuesOf(65)];
    await backend().writeState(state, 0, first, 700);
    await backend().writeState(state, 1, other, 64);
    expect(await backend().readState(state, 0)).toEqual(kept(first));
    expect(await backend().readState(state, 1)).toEqual(kept(other));
    for (const from of [0, 1, 128, 699, 700]) {
      const behind = kept(first).map((array, slot) =>
        slot === 0 ? array : array.subarray(from * HEAD_DIM),
      );
      expect(await backend().readState(state, 0, from)).toEqual(behind);
    }
    for (const from of [-1, 1.5, 701])
      await expect(backend().readState(state, 0, from)).rejects.toMatchObject({ code: "shape" });
    await backend().writeState(state, 0, later, 65);
    expect(await backend().readState(state, 0)).toEqual(kept(later));
    expect(await backend().readState(state, 1)).toEqual(kept(other));
    expect([...state.positions]).toEqual([65, 64]);
    state.release();
  });

  test.each(["f32", "f16"] as const)(
    "copies a sequence into another state, as %s",
    async (dtype) => {
      const random = seeded(4);
      const layout = LAYOUT.map((slot) => (slot.grows === true ? { ...slot, dtype } : slot));
      const [from, to] = [backend().createState(layout, 2), backend().createState(layout, 3)];
      for (const [sequence, position] of [
        [0, 300],
        [1, 70],
      ] as const) {
        const values = [3, position * HEAD_DIM, position * HEAD_DIM].map((n) => random.normal(n));
        await backend().writeState(from, sequence, values, position);
      }
      const untouched = await backend().readState(to, 1);
      await backend().copyState(from, 0, to, 2);
      await backend().copyState(from, 1, to, 0);
      expect(await backend().readState(to, 2)).toEqual(await backend().readState(from, 0));
      expect(await backend().readState(to, 0)).toEqual(await backend().readState(from, 1));
      expect(await backend().readState(to, 1)).toEqual(untouched);
      expect([...to.positions]).toEqual([70, 0, 300]);
      // Over a longer one too, and the two are two from then on.
      await backend().copyState(to, 0, from, 0);
      expect(await backend().readState(from, 0)).toEqual(await backend().readState(to, 0));
      const other = [1, 0, 0].map((rows, slot) => new Float32Array(slot === 0 ? 3 : rows));
      await backend().writeState(to, 0, other, 0);
      expect(from.positions[0]).toBe(70);
      expect((await backend().readState(from, 0))[1]?.length).toBe(70 * HEAD_DIM);
      await expect(backend().copyState(from, 2, to, 0)).rejects.toMatchObject({ code: "shape" });
      await expect(backend().copyState(from, 0, from, 1)).rejects.toMatchObject({ code: "shape" });
      from.release();
      to.release();
    },
  );

  test("refuses rows that are not the position's, and leaves what was there", async () => {
    const state = backend().createState(LAYOUT, 1);
    const values = [1, 2, 2].map((tokens, slot) => new Float32Array(slot === 0 ? 3 : tokens * 5));
    await backend().writeState(state, 0, values, 2);
    for (const position of [1, 3, -1, 2.5, 2 ** 31]) {
      await expect(backend().writeState(state, 0, values, position)).rejects.toMatchObject({
        code: "shape",
      });
    }
    expect([...state.positions]).toEqual([2]);
    state.release();
  });

  test("counts no further than kernels can", async () => {
    const layout = LAYOUT.slice(0, 1);
    const state = backend().createState(layout, 1);
    await backend().writeState(state, 0, [new Float32Array(3)], 2 ** 31 - 3);
    await feed(backend(), state, 2, layout);
    expect([...state.positions]).toEqual([2 ** 31 - 1]);
    await expect(feed(backend(), state, 1, layout)).rejects.toMatchObject({ code: "shape" });
    state.release();
  });

  test("is refused by a plan of another layout", async () => {
    const layout = LAYOUT.map(({ name, shape }) => ({ name, shape }));
    const state = backend().createState(layout, 1);
    await expect(feed(backend(), state, 1)).rejects.toMatchObject({ code: "shape" });
    state.release();
  });
});
