import { expect, test } from "vitest";
import { recordPlan } from "../../plan/recorder.ts";
import { openBackend } from "../../testing/open-backend.ts";

test("a state beyond what the GPU binds is refused, and stays where it was", async () => {
  const backend = await openBackend("webgpu");
  const limit = backend.device.limits["maxStorageBufferBindingSize"] ?? 0;
  const layout = [{ name: "keys", shape: [1024, 1024], grows: true }];
  const tokens = Math.floor(limit / 2 ** 22) + 1;
  const state = backend.createState(layout, 1);
  const plan = recordPlan({ batch: 1, length: tokens }, layout, () => {});
  const executable = await backend.compile(plan);
  await expect(executable.run(new Int32Array(tokens), state, false)).rejects.toMatchObject({
    name: "KernelError",
    code: "out-of-memory",
    details: { tokens, limit },
  });
  expect([...state.positions]).toEqual([0]);
  state.release();
  expect(backend.memory().states).toBe(0);
  await backend.release();
});
