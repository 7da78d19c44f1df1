import { expect, test } from "vitest";
import { recordPlan } from "../../plan/recorder.ts";
import { createWasmBackend } from "./backend.ts";

test("a state beyond what WebAssembly reaches is refused, and stays where it was", async () => {
  const backend = await createWasmBackend({ threads: 1 });
  // A page of 64 tokens is 4 GiB.
  const layout = [
    { name: "small", shape: [4], grows: true },
    { name: "keys", shape: [2 ** 14, 2 ** 10], grows: true },
  ];
  const state = backend.createState(layout, 1);
  const executable = await backend.compile(recordPlan({ batch: 1, length: 1 }, layout, () => {}));
  await expect(executable.run(new Int32Array(1), state, false)).rejects.toMatchObject({
    name: "KernelError",
    code: "out-of-memory",
  });
  expect([...state.positions]).toEqual([0]);
  expect(await backend.readState(state, 0)).toEqual([new Float32Array(0), new Float32Array(0)]);
  state.release();
  expect(backend.memory().states).toBe(0);
  await backend.release();
});
