import { expect, test } from "vitest";
import { recordPlan } from "../../plan/recorder.ts";
import type { WeightSpec } from "../../spec/tensor.ts";
import { createReferenceBackend } from "./backend.ts";

const SPEC: WeightSpec = { name: "w", dtype: "q8_0", rows: 3, cols: 64, use: "matrix" };
const layout = [{ name: "h", shape: [2, 3] }];

test("counts what it holds, and forgets what was released", async () => {
  const backend = createReferenceBackend();
  await backend.uploadWeight(SPEC, async (_, rows) => new Uint8Array(rows * 68));
  const state = backend.createState(layout, 4);
  const plan = recordPlan({ batch: 1, length: 1 }, layout, (k) =>
    k.record({ name: "linear", access: {} }, { x: k.temporary(1, 10) }),
  );
  const executable = await backend.compile(plan);
  expect(backend.memory()).toEqual({ weights: 204, states: 4 * 6 * 4, workspace: 40 });
  state.release();
  executable.release();
  expect(backend.memory()).toEqual({ weights: 204, states: 0, workspace: 0 });
  await backend.release();
  expect(backend.memory()).toEqual({ weights: 0, states: 0, workspace: 0 });
});

test.each([
  ["rows that are not whole blocks", { ...SPEC, cols: 40 }, "shape"],
  ["a packed vector", { ...SPEC, use: "vector" as const }, "dtype"],
  ["no rows", { ...SPEC, rows: 0 }, "shape"],
])("refuses a weight with %s", async (_, spec, code) => {
  const upload = createReferenceBackend().uploadWeight(
    spec,
    async (_first, rows) => new Uint8Array(rows * 68),
  );
  await expect(upload).rejects.toMatchObject({ name: "KernelError", code });
});

test("refuses rows that are shorter than they should be", async () => {
  const upload = createReferenceBackend().uploadWeight(SPEC, async () => new Uint8Array(67));
  await expect(upload).rejects.toMatchObject({ name: "KernelError", code: "shape" });
});

test("refuses an op that is not in the registry", async () => {
  const plan = recordPlan({ batch: 1, length: 1 }, [], (k) =>
    k.record({ name: "toString", access: {} }, {}),
  );
  await expect(createReferenceBackend().compile(plan)).rejects.toMatchObject({
    code: "unsupported",
  });
});

test("keeps the sequences of a batch apart", async () => {
  const backend = createReferenceBackend();
  const state = backend.createState(layout, 2);
  const values = Float32Array.of(1, 2, 3, 4, 5, 6);
  await backend.writeState(state, 1, [values], 3);
  expect(await backend.readState(state, 0)).toEqual([new Float32Array(6)]);
  expect(await backend.readState(state, 1)).toEqual([values]);
  await expect(backend.writeState(state, 2, [values], 3)).rejects.toMatchObject({ code: "shape" });
  await expect(backend.writeState(state, 0, [values.subarray(1)], 3)).rejects.toMatchObject({
    code: "shape",
  });
  await expect(backend.writeState(state, 0, [], 3)).rejects.toMatchObject({ code: "shape" });
});
