import { expect, test } from "vitest";
import { linear } from "../ops/linear/linear.ts";
import { rmsNorm } from "../ops/rms-norm/rms-norm.ts";
import { recordPlan } from "../plan/recorder.ts";
import { forEachBackend } from "../testing/for-each-backend.ts";
import { seeded } from "../testing/seeded.ts";

const [K, R] = [64, 96];

forEachBackend("a profile", (backend, name) => {
  test("counts kernels while it is on, with their time, bytes and FLOP", async () => {
    const { profile } = backend();
    // The reference has no kernels to time.
    expect(profile === undefined).toBe(name === "reference");
    if (profile === undefined) return;
    const take = (on: boolean) => backend().profile?.(on) ?? [];
    const values = seeded(1).normal(R * K);
    const weight = await backend().uploadWeight(
      { name: "w", dtype: "f32", rows: R, cols: K, use: "matrix" },
      async (first, count) => new Uint8Array(values.slice(first * K, (first + count) * K).buffer),
    );
    const layout = [{ name: "x", shape: [K] }];
    const plan = recordPlan({ batch: 1, length: 1 }, layout, (k) => {
      // By groups, and so for itself on every backend.
      const x = rmsNorm(k, { x: k.state(0), weight: null, eps: 1e-5, groupSize: K / 2 });
      linear(k, x, weight);
      linear(k, x, weight, { into: k.output(1, R) });
    });
    const executable = await backend().compile(plan);
    const state = backend().createState(layout, 1);
    await executable.run(Int32Array.of(0), state, true);
    expect(take(true)).toEqual([]);
    await executable.run(Int32Array.of(0), state, true);
    await executable.run(Int32Array.of(0), state, false);
    const rows = take(false);
    const product = rows.find(({ kernel }) => kernel.startsWith("linear"));
    expect(product).toMatchObject({
      calls: 4,
      flop: 4 * 2 * R * K,
      bytes: 4 * 4 * (R * K + K + R),
    });
    expect(rows.every(({ ms }) => Number.isFinite(ms) && ms >= 0)).toBe(true);
    await executable.run(Int32Array.of(0), state, false);
    expect(take(false)).toEqual([]);
    executable.release();
    state.release();
  });
});
