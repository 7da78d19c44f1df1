import { describe, test } from "vitest";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { fixtureText, loadGolden } from "../../testing/golden.ts";
import { openBackend } from "../../testing/open-backend.ts";
import { runOp, type OpTrial } from "../../testing/op-runner.ts";
import { randomPacked } from "../../testing/pack.ts";
import { seeded } from "../../testing/seeded.ts";
import { kernelTolerance, roundedFactorsTolerance } from "../../testing/tolerances.ts";
import { linear } from "../linear/linear.ts";
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

type Inputs = "x" | "dtRaw" | "B" | "C" | "z";
type Weights = "A" | "dtBias" | "D";

/** What is off is given to the runner as zeros, and to the op as null. */
function trial(given: Ssd): OpTrial<Inputs, "h", Weights> {
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

/** The same in a plan that has a product whose factors devices with matrix units round to f16: ssd's are rounded there, too. */
function besideRoundedProduct(given: Ssd): OpTrial<Inputs | "other", "h", Weights | "other"> {
  const alone = trial(given);
  const cols = 32;
  return {
    ...alone,
    inputs: {
      ...alone.inputs,
      other: { cols, values: new Float32Array(given.batch * given.length * cols) },
    },
    weights: {
      ...alone.weights,
      other: {
        rows: 1,
        cols,
        dtype: "q8_0",
        values: randomPacked(seeded(1), "q8_0", 1, cols, 1),
        use: "matrix",
      },
    },
    record(k, all) {
      linear(k, all.inputs.other, all.weights.other);
      return alone.record(k, all);
    },
  };
}

type Size = Pick<Ssd, "batch" | "length" | "nHead" | "headDim" | "nGroup" | "dState" | "chunkSize">;

/** Values as models have them, of another size if wanted. */
function randomSsd(size: Size, scales = { x: 1, B: 1, C: 1 }): Ssd {
  const { batch, length, nHead, headDim, nGroup, dState } = size;
  const random = seeded(length * nHead * headDim);
  const rows = batch * length;
  return {
    ...size,
    dtSoftplus: true,
    dtLimit: [0.001, 0.2],
    x: random.normal(rows * nHead * headDim, scales.x),
    dtRaw: random.normal(rows * nHead),
    z: random.normal(rows * nHead * headDim),
    B: random.normal(rows * nGroup * dState, scales.B),
    C: random.normal(rows * nGroup * dState, scales.C),
    A: random.uniform(nHead, -16, -1),
    dtBias: random.uniform(nHead, -5, -2),
    D: random.normal(nHead),
    state: random.normal(batch * nHead * headDim * dState, scales.x * scales.B),
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
      await expectLikeReference(backend(), trial(randomSsd(size)));
    },
  );

  describe.each([
    { what: "values as models have them", scales: { x: 1, B: 1, C: 1 } },
    { what: "values that f16 has not", scales: { x: 1e6, B: 1e-9, C: 1e7 } },
  ])("beside products that round, with $what", ({ scales }) => {
    test.each([
      { batch: 1, length: 24, nHead: 4, headDim: 64, nGroup: 1, dState: 128, chunkSize: 256 },
      { batch: 1, length: 128, nHead: 4, headDim: 128, nGroup: 1, dState: 128, chunkSize: 256 },
      { batch: 2, length: 200, nHead: 4, headDim: 64, nGroup: 2, dState: 128, chunkSize: 128 },
      { batch: 1, length: 300, nHead: 12, headDim: 64, nGroup: 3, dState: 128, chunkSize: 256 },
    ])(
      "agrees with the reference: $batch × $length, $nHead × $headDim × $dState, $nGroup groups",
      async (size) => {
        const reference = await openBackend("reference");
        const zeros = new Float32Array(size.batch * size.nHead * size.headDim * size.dState);
        for (const given of [{}, { z: null, D: null, dtBias: null, state: zeros }]) {
          const options = besideRoundedProduct({ ...randomSsd(size, scales), ...given });
          const expected = await runOp(reference, options);
          const actual = await runOp(backend(), options);
          expectAllClose(actual.y, expected.y, roundedFactorsTolerance(expected.y), "y");
          expectAllClose(
            actual.states.h,
            expected.states.h,
            roundedFactorsTolerance(expected.states.h),
            "h",
          );
        }
        await reference.release();
      },
    );
  });
});
