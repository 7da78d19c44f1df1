import { expect, test } from "vitest";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { tokenShift } from "./token-shift.ts";

forEachBackend("token-shift", (backend) => {
  test("mixes each token with the one before it, the first with the state", async () => {
    const { y, states } = await runOp(backend(), {
      batch: 2,
      length: 2,
      inputs: { x: { cols: 2, values: Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8) } },
      states: { last: Float32Array.of(10, 20, 30, 40) },
      weights: { mix: { rows: 2, cols: 2, values: Float32Array.of(0, 1, 0.5, 0.25) } },
      record: (k, { inputs, states: { last }, weights }) =>
        tokenShift(k, { x: inputs.x, mix: weights.mix, state: last }),
    });
    expect([...y]).toEqual(
      [
        [1, 20, 5.5, 6.5],
        [3, 2, 2, 3.5],
        [5, 40, 17.5, 14.5],
        [7, 6, 6, 7.5],
      ].flat(),
    );
    expect([...states.last]).toEqual([3, 4, 7, 8]);
  });

  test.each([
    { batch: 1, length: 1, channels: 1, mixtures: 1 },
    { batch: 3, length: 1, channels: 65, mixtures: 6 },
    { batch: 1, length: 7, channels: 67, mixtures: 3 },
    { batch: 2, length: 33, channels: 6, mixtures: 2 },
    { batch: 2, length: 3, channels: 700, mixtures: 1 },
  ])(
    "agrees with the reference: $batch × $length × $channels, $mixtures mixtures",
    async (size) => {
      const { batch, length, channels, mixtures } = size;
      const random = seeded(channels);
      await expectLikeReference(backend(), {
        batch,
        length,
        inputs: {
          x: { cols: channels, values: random.normal(batch * length * channels), margin: [3, 2] },
        },
        states: { last: random.normal(batch * channels) },
        weights: {
          mix: {
            rows: mixtures,
            cols: channels,
            values: random.uniform(mixtures * channels, 0, 1),
          },
        },
        record: (k, { inputs, states: { last }, weights }) =>
          tokenShift(k, { x: inputs.x, mix: weights.mix, state: last }),
      });
    },
  );
});
