import { expect, test } from "vitest";
import { expectAllClose } from "../../testing/all-close.ts";
import { channelsLast } from "../../testing/channels-last.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { fixtureText, loadGolden } from "../../testing/golden.ts";
import { runOp, type OpTrial } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { kernelTolerance } from "../../testing/tolerances.ts";
import { causalConv1d } from "./causal-conv1d.ts";

interface Case {
  readonly batch: number;
  readonly channels: number;
  readonly kernel: number;
  readonly length: number;
  readonly activation: "silu" | null;
}
const cases = JSON.parse(fixtureText("kernels/causal_conv1d.json")) as Record<string, Case>;
const golden = loadGolden("kernels/causal_conv1d.safetensors");

type Trial = OpTrial<"x", "state", "weight" | "bias">;

function trial(options: {
  batch: number;
  length: number;
  channels: number;
  dConv: number;
  silu: boolean;
  x: Float32Array;
  state: Float32Array;
  weight: Float32Array;
  bias: Float32Array | null;
}): Trial {
  const { batch, length, channels, dConv, silu, x, state, weight, bias } = options;
  return {
    batch,
    length,
    inputs: { x: { cols: channels, values: x, margin: [3, 2] } },
    states: { state },
    weights: {
      weight: { rows: channels, cols: dConv, values: weight },
      bias: { rows: 1, cols: channels, values: bias ?? new Float32Array(channels) },
    },
    record: (k, given) =>
      causalConv1d(k, {
        x: given.inputs.x,
        weight: given.weights.weight,
        bias: bias && given.weights.bias,
        state: given.states.state,
        silu,
      }),
  };
}

forEachBackend("causal-conv1d", (backend) => {
  test.each(Object.entries(cases))(
    "agrees with the golden %s",
    async (name, { batch, channels, kernel, length, activation }) => {
      const x = channelsLast(golden.f32(`${name}.x`).values, batch, channels, length);
      const initial = `${name}.initial_state`;
      const { y, states } = await runOp(
        backend(),
        trial({
          batch,
          length,
          channels,
          dConv: kernel,
          silu: activation === "silu",
          x,
          state: golden.has(initial)
            ? golden.f32(initial).values
            : new Float32Array(batch * channels * (kernel - 1)),
          weight: golden.f32(`${name}.weight`).values,
          bias: golden.has(`${name}.bias`) ? golden.f32(`${name}.bias`).values : null,
        }),
      );
      const expected = channelsLast(golden.f32(`${name}.y`).values, batch, channels, length);
      expectAllClose(y, expected, kernelTolerance(expected, length), "y");
      expect(states.state).toEqual(golden.f32(`${name}.final_state`).values);
    },
  );

  test.each([
    { batch: 1, length: 1, channels: 1, dConv: 4 },
    { batch: 3, length: 2, channels: 5, dConv: 4 },
    { batch: 2, length: 65, channels: 67, dConv: 2 },
    { batch: 1, length: 17, channels: 130, dConv: 3 },
  ])(
    "agrees with the reference at its edges: $batch × $length, $channels channels, $dConv taps",
    async (size) => {
      const { batch, length, channels, dConv } = size;
      const random = seeded(channels);
      await expectLikeReference(
        backend(),
        trial({
          ...size,
          silu: true,
          x: random.normal(batch * length * channels),
          state: random.normal(batch * channels * (dConv - 1)),
          weight: random.normal(channels * dConv),
          bias: random.normal(channels),
        }),
      );
    },
  );
});
