import { test } from "vitest";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp, type OpTrial } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { kernelTolerance } from "../../testing/tolerances.ts";
import { mlstm } from "./mlstm.ts";

interface Size {
  readonly batch: number;
  readonly length: number;
  readonly nHead: number;
  readonly headDimK: number;
  readonly headDimV: number;
}

type Trial = OpTrial<"q" | "k" | "v" | "inputGate" | "forgetGate", "state", never>;

function trial(size: Size, options: { readonly eps: number; readonly fresh?: boolean }): Trial {
  const { batch, length, nHead, headDimK, headDimV } = size;
  const random = seeded(length * headDimV + headDimK);
  const rows = batch * length;
  const state = random.normal(batch * nHead * (headDimK * (headDimV + 1) + 1));
  return {
    batch,
    length,
    inputs: {
      q: { cols: nHead * headDimK, values: random.normal(rows * nHead * headDimK), margin: [2, 1] },
      k: { cols: nHead * headDimK, values: random.normal(rows * nHead * headDimK) },
      v: { cols: nHead * headDimV, values: random.normal(rows * nHead * headDimV), margin: [0, 3] },
      inputGate: { cols: nHead, values: random.normal(rows * nHead, 3), margin: [1, 0] },
      forgetGate: { cols: nHead, values: random.normal(rows * nHead, 3) },
    },
    states: { state: options.fresh === true ? new Float32Array(state.length) : state },
    weights: {},
    record: (k, { inputs, states }) =>
      mlstm(k, { ...inputs, state: states.state, nHead, eps: options.eps }),
  };
}

/** xLSTM's equations 19–27 in f64 as they are before any stabilising, from an empty memory. */
function plain(size: Size, { inputs }: Trial): number[] {
  const { batch, length, nHead, headDimK: dK, headDimV: dV } = size;
  const { q, k, v, inputGate, forgetGate } = inputs;
  const y: number[] = Array.from({ length: batch * length * nHead * dV }, () => NaN);
  for (let b = 0; b < batch; b++) {
    for (let p = 0; p < nHead; p++) {
      const C = Array.from({ length: dK }, () => new Float64Array(dV));
      const n = new Float64Array(dK);
      for (let row = b * length; row < (b + 1) * length; row++) {
        const f = 1 / (1 + Math.exp(-forgetGate.values[row * nHead + p]));
        const i = Math.exp(inputGate.values[row * nHead + p]);
        const out = new Float64Array(dV);
        let dot = 0;
        for (let r = 0; r < dK; r++) {
          const key = k.values[(row * nHead + p) * dK + r];
          const query = q.values[(row * nHead + p) * dK + r] / Math.sqrt(dK);
          n[r] = f * n[r] + i * key;
          dot += n[r] * query;
          for (let c = 0; c < dV; c++) {
            C[r][c] = f * C[r][c] + i * key * v.values[(row * nHead + p) * dV + c];
            out[c] += C[r][c] * query;
          }
        }
        out.forEach((sum, c) => {
          y[(row * nHead + p) * dV + c] = sum / Math.max(Math.abs(dot), 1);
        });
      }
    }
  }
  return y;
}

forEachBackend("mlstm", (backend) => {
  test("computes the paper's equations", async () => {
    const size = { batch: 2, length: 19, nHead: 3, headDimK: 5, headDimV: 18 };
    const given = trial(size, { eps: 0, fresh: true });
    const { y } = await runOp(backend(), given);
    const expected = plain(size, given);
    expectAllClose(y, expected, kernelTolerance(expected, size.length), "y");
  });

  test.each([
    { batch: 1, length: 1, nHead: 1, headDimK: 1, headDimV: 1 },
    { batch: 3, length: 1, nHead: 2, headDimK: 16, headDimV: 33 },
    { batch: 1, length: 70, nHead: 4, headDimK: 6, headDimV: 16 },
    { batch: 2, length: 5, nHead: 1, headDimK: 13, headDimV: 7 },
  ])(
    "agrees with the reference: $batch × $length, $nHead heads of $headDimK and $headDimV",
    async (size) => {
      await expectLikeReference(backend(), trial(size, { eps: 1e-6 }));
    },
  );
});
