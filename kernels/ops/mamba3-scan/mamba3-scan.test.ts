import { expect, test } from "vitest";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { fixtureText, loadGolden } from "../../testing/golden.ts";
import { openBackend } from "../../testing/open-backend.ts";
import { runOp, type OpTrial } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { kernelTolerance } from "../../testing/tolerances.ts";
import { mamba3Scan, type DecayActivation } from "./mamba3-scan.ts";

interface Case {
  readonly ngroups: number;
  readonly A_floor: number;
  readonly is_mimo: boolean;
  readonly mimo_rank: number;
  readonly is_outproj_norm: boolean;
  readonly A_activation: DecayActivation;
  readonly d_model: number;
  readonly d_state: number;
  readonly headdim: number;
  readonly L: number;
}
const cases = JSON.parse(fixtureText("kernels/mamba3_mixer.json")) as Record<string, Case>;
const golden = loadGolden("kernels/mamba3_mixer.safetensors");

type Input = "x" | "z" | "B" | "C" | "dtRaw" | "aRaw" | "trap" | "angleRaw";
type State = "angles" | "state" | "keys" | "values";
type WeightName = "dtBias" | "BBias" | "CBias" | "D" | "mimoX" | "mimoZ" | "mimoO" | "norm";
type Trial = OpTrial<Input, State, WeightName>;

interface Shape {
  readonly batch: number;
  readonly length: number;
  readonly nHead: number;
  readonly headDim: number;
  readonly dState: number;
  readonly nAngle: number;
  readonly nGroup: number;
  readonly rank: number;
  readonly mimo: boolean;
  readonly norm: boolean;
  readonly decay: DecayActivation;
  readonly aFloor: number;
}

function columnsOf(shape: Shape): Readonly<Record<Input, number>> {
  const { nHead, headDim, dState, nAngle, nGroup, rank } = shape;
  const dInner = nHead * headDim;
  const dBC = rank * nGroup * dState;
  return {
    x: dInner,
    z: dInner,
    B: dBC,
    C: dBC,
    dtRaw: nHead,
    aRaw: nHead,
    trap: nHead,
    angleRaw: nAngle,
  };
}

function statesOf(shape: Shape): Readonly<Record<State, number>> {
  const { batch, nHead, headDim, dState, nAngle, rank } = shape;
  return {
    angles: batch * nHead * nAngle,
    state: batch * nHead * headDim * dState,
    keys: batch * nHead * rank * dState,
    values: batch * nHead * rank * headDim,
  };
}

/** What is off is given to the runner as zeros, and to the op as null. */
function trial(
  shape: Shape,
  inputs: Readonly<Record<Input, Float32Array>>,
  states: Readonly<Record<State, Float32Array>>,
  weights: Readonly<Record<WeightName, Float32Array>>,
): Trial {
  const { batch, length, nHead, headDim, dState, nGroup, rank, mimo, norm, decay, aFloor } = shape;
  const cols = columnsOf(shape);
  const input = (name: Input, margin: readonly [number, number]): Trial["inputs"][Input] => ({
    cols: cols[name],
    values: inputs[name],
    margin,
  });
  const weight = (name: WeightName, rows: number, width: number): Trial["weights"][WeightName] => ({
    rows,
    cols: width,
    values: weights[name],
  });
  return {
    batch,
    length,
    inputs: {
      x: input("x", [0, 0]),
      z: input("z", [3, 0]),
      B: input("B", [1, 2]),
      C: input("C", [0, 1]),
      dtRaw: input("dtRaw", [2, 1]),
      aRaw: input("aRaw", [0, 5]),
      trap: input("trap", [1, 0]),
      angleRaw: input("angleRaw", [7, 0]),
    },
    states,
    weights: {
      dtBias: weight("dtBias", 1, nHead),
      BBias: weight("BBias", nHead * rank, dState),
      CBias: weight("CBias", nHead * rank, dState),
      D: weight("D", 1, nHead),
      mimoX: weight("mimoX", nHead * rank, headDim),
      mimoZ: weight("mimoZ", nHead * rank, headDim),
      mimoO: weight("mimoO", nHead * rank, headDim),
      norm: weight("norm", 1, nHead * headDim),
    },
    record: (k, given) =>
      mamba3Scan(k, {
        ...given.inputs,
        ...given.states,
        ...given.weights,
        mimoX: mimo ? given.weights.mimoX : null,
        mimoZ: mimo ? given.weights.mimoZ : null,
        mimoO: mimo ? given.weights.mimoO : null,
        norm: norm ? given.weights.norm : null,
        eps: 1e-5,
        decay,
        aFloor,
        pairs: mimo ? "halves" : "neighbours",
        nGroup,
        rank,
      }),
  };
}

/** x / rms(x) · weight for each group of weight.length values, in f64. */
function normalised(x: Float64Array, weight: Float32Array): Float64Array {
  const width = weight.length;
  return x.map((value, i) => {
    const from = i - (i % width);
    const squares = x.subarray(from, from + width).reduce((sum, v) => sum + v * v, 0);
    return (value / Math.sqrt(squares / width + 1e-5)) * (weight[i % width] ?? 0);
  });
}

/** The scan's part of a golden mixer: its inputs are the projection, here in f64, cut as the authors cut it. */
function goldenTrial(name: string, c: Case): Trial {
  const param = (tensor: string): Float32Array => golden.f32(`${name}.param.${tensor}`).values;
  const optional = (tensor: string, values: number): Float32Array =>
    golden.has(`${name}.param.${tensor}`) ? param(tensor) : new Float32Array(values);
  const nHead = param("D").length;
  const shape: Shape = {
    batch: 1,
    length: c.L,
    nHead,
    headDim: c.headdim,
    dState: c.d_state,
    nAngle: golden.f32(`${name}.final_angle`).shape[1] ?? 0,
    nGroup: c.ngroups,
    rank: c.mimo_rank,
    mimo: c.is_mimo,
    norm: c.is_outproj_norm,
    decay: c.A_activation,
    aFloor: c.A_floor,
  };
  const cols = columnsOf(shape);
  const order: readonly Input[] = ["z", "x", "B", "C", "dtRaw", "aRaw", "trap", "angleRaw"];
  const u = golden.f32(`${name}.u`).values;
  const inProj = param("in_proj.weight");
  let row = 0;
  const inputs = Object.fromEntries(
    order.map((input) => {
      const width = cols[input];
      const values = new Float64Array(c.L * width);
      for (let t = 0; t < c.L; t++) {
        for (let i = 0; i < width; i++) {
          for (let d = 0; d < c.d_model; d++) {
            values[t * width + i] +=
              (u[t * c.d_model + d] ?? 0) * (inProj[(row + i) * c.d_model + d] ?? 0);
          }
        }
      }
      row += width;
      if (input === "B") return [input, normalised(values, param("B_norm.weight"))];
      if (input === "C") return [input, normalised(values, param("C_norm.weight"))];
      return [input, values];
    }),
  );
  const rounded = (input: Input): Float32Array => Float32Array.from(inputs[input] ?? []);
  const sizes = statesOf(shape);
  const mimoSize = nHead * c.mimo_rank * c.headdim;
  return trial(
    shape,
    {
      x: rounded("x"),
      z: rounded("z"),
      B: rounded("B"),
      C: rounded("C"),
      dtRaw: rounded("dtRaw"),
      aRaw: rounded("aRaw"),
      trap: rounded("trap"),
      angleRaw: rounded("angleRaw"),
    },
    {
      angles: new Float32Array(sizes.angles),
      state: new Float32Array(sizes.state),
      keys: new Float32Array(sizes.keys),
      values: new Float32Array(sizes.values),
    },
    {
      dtBias: param("dt_bias"),
      BBias: param("B_bias"),
      CBias: param("C_bias"),
      D: param("D"),
      mimoX: optional("mimo_x", mimoSize),
      mimoZ: optional("mimo_z", mimoSize),
      mimoO: optional("mimo_o", mimoSize),
      norm: optional("norm.weight", nHead * c.headdim),
    },
  );
}

/** Angles as points of the circle: modulo 2π, 0 is beside 2π. */
function onCircle(angles: Float32Array): Float32Array {
  return Float32Array.from([...angles].flatMap((angle) => [Math.cos(angle), Math.sin(angle)]));
}

function randomTrial(shape: Shape, seed: number): Trial {
  const random = seeded(seed);
  const rows = shape.batch * shape.length;
  const cols = columnsOf(shape);
  const sizes = statesOf(shape);
  const { nHead, headDim, dState, rank } = shape;
  const input = (name: Input): Float32Array => random.normal(rows * cols[name]);
  return trial(
    shape,
    {
      x: input("x"),
      z: input("z"),
      B: input("B"),
      C: input("C"),
      dtRaw: input("dtRaw"),
      aRaw: input("aRaw"),
      trap: input("trap"),
      angleRaw: input("angleRaw"),
    },
    {
      angles: random.uniform(sizes.angles, 1, 5),
      state: random.normal(sizes.state),
      keys: random.normal(sizes.keys),
      values: random.normal(sizes.values),
    },
    {
      dtBias: random.uniform(nHead, -5, -2),
      BBias: random.normal(nHead * rank * dState),
      CBias: random.normal(nHead * rank * dState),
      D: random.normal(nHead),
      mimoX: random.normal(nHead * rank * headDim),
      mimoZ: random.normal(nHead * rank * headDim),
      mimoO: random.normal(nHead * rank * headDim),
      norm: random.normal(nHead * headDim),
    },
  );
}

const SISO = { rank: 1, mimo: false, norm: false, decay: "heavy_tail", aFloor: 1e-4 } as const;

forEachBackend("mamba3-scan", (backend) => {
  test.each(Object.entries(cases))("agrees with the golden %s", async (name, c) => {
    const { y, states } = await runOp(backend(), goldenTrial(name, c));
    const check = (values: Float32Array, tensor: string, what: string): void => {
      const expected = golden.f32(`${name}.${tensor}`).values;
      expectAllClose(values, expected, kernelTolerance(expected, c.L), what);
    };
    check(y, "y_core", "y");
    check(states.state, "final_ssm_state", "state");
    check(states.keys, "final_k_state", "keys");
    check(states.values, "final_v_state", "values");
    const angles = onCircle(golden.f32(`${name}.final_angle`).values);
    expectAllClose(onCircle(states.angles), angles, kernelTolerance(angles, c.L), "angles");
  });

  test.each<Omit<Shape, "decay" | "aFloor"> & Partial<Shape>>([
    { ...SISO, batch: 1, length: 1, nHead: 1, headDim: 1, dState: 2, nAngle: 1, nGroup: 1 },
    { ...SISO, batch: 3, length: 1, nHead: 6, headDim: 11, dState: 9, nAngle: 4, nGroup: 3 },
    {
      ...SISO,
      batch: 2,
      length: 9,
      nHead: 2,
      headDim: 8,
      dState: 8,
      nAngle: 2,
      nGroup: 1,
      norm: true,
    },
    {
      ...SISO,
      batch: 2,
      length: 7,
      nHead: 4,
      headDim: 5,
      dState: 6,
      nAngle: 3,
      nGroup: 2,
      rank: 3,
      mimo: true,
    },
    {
      ...SISO,
      batch: 1,
      length: 33,
      nHead: 2,
      headDim: 6,
      dState: 8,
      nAngle: 2,
      nGroup: 2,
      rank: 2,
      mimo: true,
      norm: true,
      decay: "softplus",
      aFloor: 0.9,
    },
  ])(
    "agrees with the reference: $batch × $length, $nHead heads of $headDim, rank $rank, norm $norm",
    async (size) => {
      const shape = { ...SISO, ...size };
      await expectLikeReference(backend(), randomTrial(shape, shape.length * shape.nHead));
    },
  );
});

test("refuses shapes that do not fit", async () => {
  const shape = {
    ...SISO,
    batch: 1,
    length: 1,
    nHead: 2,
    headDim: 4,
    dState: 7,
    nAngle: 3,
    nGroup: 1,
  };
  const halves = randomTrial({ ...shape, mimo: true }, 1);
  const reference = await openBackend("reference");
  await expect(runOp(reference, halves)).rejects.toThrow(/do not fit/);
  await reference.release();
});
