import { test } from "vitest";
import { expectAllClose } from "../../testing/all-close.ts";
import { channelsLast } from "../../testing/channels-last.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { fixtureText, loadGolden } from "../../testing/golden.ts";
import { runOp, type OpTrial } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { kernelTolerance } from "../../testing/tolerances.ts";
import { selectiveScan } from "./selective-scan.ts";

interface Case {
  readonly batch: number;
  readonly dim: number;
  readonly dstate: number;
  readonly groups: number;
  readonly length: number;
  readonly delta_softplus: boolean;
}
const cases = JSON.parse(fixtureText("kernels/selective_scan.json")) as Record<string, Case>;
const golden = loadGolden("kernels/selective_scan.safetensors");

interface Scan {
  readonly batch: number;
  readonly length: number;
  readonly dInner: number;
  readonly dState: number;
  readonly nGroup: number;
  readonly dtSoftplus: boolean;
  readonly x: Float32Array;
  readonly dtRaw: Float32Array;
  readonly B: Float32Array;
  readonly C: Float32Array;
  readonly A: Float32Array;
  readonly z: Float32Array | null;
  readonly dtBias: Float32Array | null;
  readonly D: Float32Array | null;
  readonly state: Float32Array;
}

/** What is off is given to the runner as zeros, and to the op as null. */
function trial(scan: Scan): OpTrial<"x" | "dtRaw" | "B" | "C" | "z", "h", "A" | "dtBias" | "D"> {
  const { batch, length, dInner, dState, nGroup, dtSoftplus, z, dtBias, D } = scan;
  const zeros = new Float32Array(dInner);
  return {
    batch,
    length,
    inputs: {
      x: { cols: dInner, values: scan.x },
      dtRaw: { cols: dInner, values: scan.dtRaw, margin: [1, 1] },
      // As in a model: B and C are views of one wider tensor.
      B: { cols: nGroup * dState, values: scan.B, margin: [5, nGroup * dState] },
      C: { cols: nGroup * dState, values: scan.C, margin: [5 + nGroup * dState, 0] },
      z: { cols: dInner, values: z ?? new Float32Array(scan.x.length), margin: [dInner, 0] },
    },
    states: { h: scan.state },
    weights: {
      A: { rows: dInner, cols: dState, values: scan.A },
      dtBias: { rows: 1, cols: dInner, values: dtBias ?? zeros },
      D: { rows: 1, cols: dInner, values: D ?? zeros },
    },
    record: (k, { inputs, states, weights }) =>
      selectiveScan(k, {
        x: inputs.x,
        dtRaw: inputs.dtRaw,
        dtBias: dtBias && weights.dtBias,
        dtSoftplus,
        A: weights.A,
        B: inputs.B,
        C: inputs.C,
        D: D && weights.D,
        z: z && inputs.z,
        state: states.h,
        nGroup,
      }),
  };
}

forEachBackend("selective-scan", (backend) => {
  test.each(Object.entries(cases))("agrees with the golden %s", async (name, c) => {
    const { batch, length, dim: dInner, dstate: dState, groups: nGroup } = c;
    const optional = (tensor: string): Float32Array | null =>
      golden.has(`${name}.${tensor}`) ? golden.f32(`${name}.${tensor}`).values : null;
    const rows = (tensor: string, channels: number): Float32Array =>
      channelsLast(golden.f32(`${name}.${tensor}`).values, batch, channels, length);
    const { y, states } = await runOp(
      backend(),
      trial({
        batch,
        length,
        dInner,
        dState,
        nGroup,
        dtSoftplus: c.delta_softplus,
        x: rows("u", dInner),
        dtRaw: rows("delta", dInner),
        B: rows("B", nGroup * dState),
        C: rows("C", nGroup * dState),
        A: golden.f32(`${name}.A`).values,
        z: optional("z") && rows("z", dInner),
        dtBias: optional("delta_bias"),
        D: optional("D"),
        state: optional("initial_state") ?? new Float32Array(batch * dInner * dState),
      }),
    );
    const expected = rows("y", dInner);
    const last = golden.f32(`${name}.last_state`).values;
    expectAllClose(y, expected, kernelTolerance(expected, length), "y");
    expectAllClose(states.h, last, kernelTolerance(last, length), "last state");
  });

  test.each([
    { batch: 1, length: 1, dInner: 1, dState: 1, nGroup: 1 },
    { batch: 4, length: 1, dInner: 67, dState: 16, nGroup: 1 },
    { batch: 1, length: 63, dInner: 33, dState: 16, nGroup: 3 },
    { batch: 2, length: 64, dInner: 8, dState: 5, nGroup: 1 },
    { batch: 1, length: 65, dInner: 130, dState: 16, nGroup: 2 },
    { batch: 1, length: 129, dInner: 4, dState: 3, nGroup: 1 },
  ])(
    "agrees with the reference: $batch × $length, ($dInner, $dState), $nGroup groups",
    async (size) => {
      const { batch, length, dInner, dState, nGroup } = size;
      const random = seeded(length * dInner);
      const rows = batch * length;
      await expectLikeReference(
        backend(),
        trial({
          ...size,
          dtSoftplus: true,
          x: random.normal(rows * dInner),
          dtRaw: random.normal(rows * dInner),
          z: random.normal(rows * dInner),
          B: random.normal(rows * nGroup * dState),
          C: random.normal(rows * nGroup * dState),
          A: random.uniform(dInner * dState, -16, -0.5),
          dtBias: random.uniform(dInner, -5, -2),
          D: random.normal(dInner),
          state: random.normal(batch * dInner * dState),
        }),
      );
    },
  );
});
