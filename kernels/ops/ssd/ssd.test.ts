import { test } from "vitest";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { fixtureText, loadGolden } from "../../testing/golden.ts";
import { runOp, type OpTrial } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { kernelTolerance } from "../../testing/tolerances.ts";
import { ssd } from "./ssd.ts";

interface Case {
  readonly batch: number;
  readonly length: number;
  readonly nheads: number;
  readonly headdim: number;
  readonly ngroups: number;
  readonly dstate: number;
  readonly dt_softplus: boolean;
  readonly dt_limit: readonly [number, number | null];
}
const cases = JSON.parse(fixtureText("kernels/ssd.json")) as Record<string, Case>;
const golden = loadGolden("kernels/ssd.safetensors");

interface Ssd {
  readonly batch: number;
  readonly length: number;
  readonly nHead: number;
  readonly headDim: number;
  readonly nGroup: number;
  readonly dState: number;
  readonly chunkSize: number;
  readonly dtSoftplus: boolean;
  readonly dtLimit: readonly [number, number];
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
function trial(given: Ssd): OpTrial<"x" | "dtRaw" | "B" | "C" | "z", "h", "A" | "dtBias" | "D"> {
  const {
    batch,
    length,
    nHead,
    headDim,
    nGroup,
    dState,
    chunkSize,
    dtSoftplus,
    dtLimit,
    z,
    dtBias,
    D,
  } = given;
  const dInner = nHead * headDim;
  const dBC = nGroup * dState;
  const zeros = new Float32Array(nHead);
  return {
    batch,
    length,
    inputs: {
      // As in a model: x, B and C are views of one tensor, z and dt of another.
      x: { cols: dInner, values: given.x, margin: [0, 2 * dBC] },
      B: { cols: dBC, values: given.B, margin: [dInner, dBC] },
      C: { cols: dBC, values: given.C, margin: [dInner + dBC, 0] },
      z: { cols: dInner, values: z ?? new Float32Array(given.x.length), margin: [0, nHead] },
      dtRaw: { cols: nHead, values: given.dtRaw, margin: [dInner, 0] },
    },
    states: { h: given.state },
    weights: {
      A: { rows: 1, cols: nHead, values: given.A },
      dtBias: { rows: 1, cols: nHead, values: dtBias ?? zeros },
      D: { rows: 1, cols: nHead, values: D ?? zeros },
    },
    record: (k, { inputs, states, weights }) =>
      ssd(k, {
        x: inputs.x,
        dtRaw: inputs.dtRaw,
        dtBias: dtBias && weights.dtBias,
        dtSoftplus,
        dtMin: dtLimit[0],
        dtMax: dtLimit[1],
        A: weights.A,
        B: inputs.B,
        C: inputs.C,
        D: D && weights.D,
        z: z && inputs.z,
        state: states.h,
        nGroup,
        chunkSize,
      }),
  };
}

forEachBackend("ssd", (backend) => {
  test.each(Object.entries(cases))("agrees with the golden %s", async (name, c) => {
    const { batch, length, nheads: nHead, headdim: headDim, ngroups: nGroup, dstate: dState } = c;
    const tensor = (suffix: string): Float32Array => golden.f32(`${name}.${suffix}`).values;
    const optional = (suffix: string): Float32Array | null =>
      golden.has(`${name}.${suffix}`) ? tensor(suffix) : null;
    const { y, states } = await runOp(
      backend(),
      trial({
        batch,
        length,
        nHead,
        headDim,
        nGroup,
        dState,
        chunkSize: 32,
        dtSoftplus: c.dt_softplus,
        dtLimit: [c.dt_limit[0], c.dt_limit[1] ?? Infinity],
        x: tensor("x"),
        dtRaw: tensor("dt"),
        B: tensor("B"),
        C: tensor("C"),
        A: tensor("A"),
        z: optional("z"),
        dtBias: optional("dt_bias"),
        D: optional("D"),
        state: optional("initial_states") ?? new Float32Array(batch * nHead * headDim * dState),
      }),
    );
    expectAllClose(y, tensor("y"), kernelTolerance(tensor("y"), length), "y");
    expectAllClose(
      states.h,
      tensor("final_state"),
      kernelTolerance(tensor("final_state"), length),
      "final state",
    );
  });

  test.each([
    { batch: 1, length: 1, nHead: 1, headDim: 1, nGroup: 1, dState: 1, chunkSize: 16 },
    { batch: 4, length: 1, nHead: 3, headDim: 64, nGroup: 1, dState: 128, chunkSize: 64 },
    { batch: 1, length: 15, nHead: 2, headDim: 8, nGroup: 2, dState: 16, chunkSize: 16 },
    { batch: 2, length: 16, nHead: 2, headDim: 5, nGroup: 1, dState: 7, chunkSize: 16 },
    { batch: 1, length: 17, nHead: 4, headDim: 64, nGroup: 2, dState: 64, chunkSize: 16 },
    { batch: 1, length: 65, nHead: 2, headDim: 24, nGroup: 1, dState: 16, chunkSize: 64 },
    { batch: 1, length: 128, nHead: 1, headDim: 64, nGroup: 1, dState: 128, chunkSize: 64 },
    { batch: 1, length: 40, nHead: 2, headDim: 16, nGroup: 1, dState: 32, chunkSize: 256 },
  ])(
    "agrees with the reference: $batch × $length, $nHead × $headDim × $dState, $nGroup groups, chunks of $chunkSize",
    async (size) => {
      const { batch, length, nHead, headDim, nGroup, dState } = size;
      const random = seeded(length * nHead * headDim);
      const rows = batch * length;
      await expectLikeReference(
        backend(),
        trial({
          ...size,
          dtSoftplus: true,
          dtLimit: [0.001, 0.2],
          x: random.normal(rows * nHead * headDim),
          dtRaw: random.normal(rows * nHead),
          z: random.normal(rows * nHead * headDim),
          B: random.normal(rows * nGroup * dState),
          C: random.normal(rows * nGroup * dState),
          A: random.uniform(nHead, -16, -1),
          dtBias: random.uniform(nHead, -5, -2),
          D: random.normal(nHead),
          state: random.normal(batch * nHead * headDim * dState),
        }),
      );
    },
  );
});
