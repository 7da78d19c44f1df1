import { expect, test } from "vitest";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp, type OpTrial } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { kernelTolerance } from "../../testing/tolerances.ts";
import { wkv4 } from "./wkv4.ts";

interface Size {
  readonly batch: number;
  readonly length: number;
  readonly channels: number;
}

interface Values {
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly decay: Float32Array;
  readonly bonus: Float32Array;
  readonly state: Float32Array;
}

function trial(
  { batch, length, channels }: Size,
  { k, v, decay, bonus, state }: Values,
): OpTrial<"k" | "v", "sums", "decay" | "bonus"> {
  return {
    batch,
    length,
    inputs: {
      k: { cols: channels, values: k, margin: [1, 4] },
      v: { cols: channels, values: v, margin: [5, 0] },
    },
    states: { sums: state },
    weights: {
      decay: { rows: 1, cols: channels, values: decay },
      bonus: { rows: 1, cols: channels, values: bonus },
    },
    record: (recorder, { inputs, states, weights }) =>
      wkv4(recorder, { ...inputs, ...weights, state: states.sums }),
  };
}

function random({ batch, length, channels }: Size): Values {
  const numbers = seeded(channels * length);
  return {
    k: numbers.normal(batch * length * channels, 2),
    v: numbers.normal(batch * length * channels),
    decay: numbers.uniform(channels, -3, -0.01),
    bonus: numbers.normal(channels),
    state: new Float32Array(batch * 3 * channels),
  };
}

/** The sums as the paper writes them, in f64, where they do not overflow for small keys. arXiv:2305.13048 §3.1. */
function sums({ length, channels }: Size, { k, v, decay, bonus }: Values): Float32Array {
  return Float32Array.from({ length: length * channels }, (_, at) => {
    const t = Math.floor(at / channels);
    const i = at % channels;
    let above = 0;
    let below = 0;
    for (let past = 0; past <= t; past++) {
      const key = k[past * channels + i];
      const weight = Math.exp(past === t ? bonus[i] + key : (t - 1 - past) * decay[i] + key);
      above += weight * v[past * channels + i];
      below += weight;
    }
    return above / below;
  });
}

forEachBackend("wkv4", (backend) => {
  test("is the weighted mean that the paper defines", async () => {
    const size = { batch: 1, length: 40, channels: 9 };
    const values = random(size);
    const expected = sums(size, values);
    const { y } = await runOp(backend(), trial(size, values));
    expectAllClose(y, expected, kernelTolerance(expected, size.length), "y");
  });

  test("stays finite where the exponentials of the keys do not", async () => {
    const size = { batch: 1, length: 3, channels: 5 };
    const { y } = await runOp(
      backend(),
      trial(size, {
        // The first token's weight is far below the least f32, then far above the largest.
        k: Float32Array.of(...Array(5).fill(-500), ...Array(5).fill(900), ...Array(5).fill(900)),
        v: Float32Array.of(...Array(5).fill(3), ...Array(5).fill(1), ...Array(5).fill(2)),
        decay: new Float32Array(5).fill(-1),
        bonus: new Float32Array(5),
        state: new Float32Array(15),
      }),
    );
    expect([...y]).toEqual([3, 3, 3, 3, 3, 1, 1, 1, 1, 1, 1.5, 1.5, 1.5, 1.5, 1.5]);
  });

  test.each([
    { batch: 1, length: 1, channels: 1 },
    { batch: 4, length: 1, channels: 67 },
    { batch: 2, length: 17, channels: 66 },
    { batch: 1, length: 130, channels: 3 },
  ])("agrees with the reference: $batch × $length × $channels", async (size) => {
    const values = random(size);
    const { batch, channels } = size;
    const numbers = seeded(batch);
    // Some tokens went before in all sequences but the first.
    const state = values.state.map((_, at) => {
      const part = Math.floor(at / channels) % 3;
      return at < 3 * channels ? 0 : part === 1 ? 1 + numbers.next() : numbers.next() - 0.5;
    });
    await expectLikeReference(backend(), trial(size, { ...values, state }));
  });
});
