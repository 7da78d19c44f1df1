import { test } from "vitest";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { fixtureText, loadGolden } from "../../testing/golden.ts";
import { runOp, type OpTrial } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { kernelTolerance } from "../../testing/tolerances.ts";
import { wkv7 } from "./wkv7.ts";

interface Case {
  readonly heads: number;
  readonly head_size: number;
  readonly length: number;
}
const cases = JSON.parse(fixtureText("kernels/wkv7.json")) as Record<string, Case>;
const golden = loadGolden("kernels/wkv7.safetensors");

interface Size {
  readonly batch: number;
  readonly length: number;
  readonly nHead: number;
  readonly keyDim: number;
  readonly valueDim: number;
}
type Input = "r" | "w" | "k" | "v" | "kappa" | "a";

function trial(
  { batch, length, nHead, keyDim, valueDim }: Size,
  values: Readonly<Record<Input, Float32Array>>,
  state: Float32Array,
): OpTrial<Input, "S", never> {
  const cols = nHead * keyDim;
  return {
    batch,
    length,
    inputs: {
      r: { cols, values: values.r },
      // As in a model: views of one wider tensor.
      w: { cols, values: values.w, margin: [0, 3 * cols] },
      a: { cols, values: values.a, margin: [cols, 2 * cols] },
      kappa: { cols, values: values.kappa, margin: [2 * cols, cols] },
      k: { cols, values: values.k, margin: [3 * cols, 0] },
      v: { cols: nHead * valueDim, values: values.v, margin: [1, 2] },
    },
    states: { S: state },
    weights: {},
    record: (recorder, { inputs, states }) => wkv7(recorder, { ...inputs, state: states.S, nHead }),
  };
}

forEachBackend("wkv7", (backend) => {
  test.each(Object.entries(cases))("agrees with the golden %s", async (name, c) => {
    const { heads: nHead, head_size: size, length } = c;
    const values = (tensor: string): Float32Array => golden.f32(`${name}.${tensor}`).values;
    const [a, b] = [values("a"), values("b")];
    const { y, states } = await runOp(
      backend(),
      trial(
        { batch: 1, length, nHead, keyDim: size, valueDim: size },
        {
          r: values("r"),
          w: values("w_raw").map((raw) => Math.exp(-Math.exp(raw))),
          k: values("k"),
          v: values("v"),
          // There the removal is (S a) bᵀ: a = −κ̂, b = a ⊙ κ̂.
          kappa: a.map((value) => -value),
          a: b.map((value, at) => -value / a[at]),
        },
        values("initial_state"),
      ),
    );
    const expected = values("y");
    const last = values("final_state");
    expectAllClose(y, expected, kernelTolerance(expected, length), "y");
    expectAllClose(states.S, last, kernelTolerance(last, length), "final state");
  });

  test.each([
    { batch: 1, length: 1, nHead: 1, keyDim: 1, valueDim: 1 },
    { batch: 3, length: 1, nHead: 2, keyDim: 64, valueDim: 64 },
    { batch: 2, length: 9, nHead: 3, keyDim: 7, valueDim: 5 },
    { batch: 1, length: 70, nHead: 2, keyDim: 6, valueDim: 18 },
    { batch: 1, length: 5, nHead: 1, keyDim: 20, valueDim: 67 },
  ])(
    "agrees with the reference: $batch × $length, $nHead heads of ($valueDim, $keyDim)",
    async (size) => {
      const { batch, length, nHead, keyDim, valueDim } = size;
      const random = seeded(length * valueDim);
      const keys = batch * length * nHead * keyDim;
      const kappa = random.normal(keys);
      for (let head = 0; head < keys; head += keyDim) {
        const part = kappa.subarray(head, head + keyDim);
        const norm = Math.hypot(...part);
        part.forEach((value, j) => (part[j] = value / norm));
      }
      await expectLikeReference(
        backend(),
        trial(
          size,
          {
            r: random.normal(keys),
            w: random.uniform(keys, 0.55, 1),
            k: random.normal(keys, 0.3),
            v: random.normal(batch * length * nHead * valueDim),
            kappa,
            a: random.uniform(keys, 0, 1),
          },
          random.normal(batch * nHead * valueDim * keyDim),
        ),
      );
    },
  );
});
