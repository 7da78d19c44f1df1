/**
 * Mamba-3 with flags that the golden model has not, against float64 loops (models/testing/plain-mamba3.ts) over random weights; the
 * loops themselves against the golden mixers.
 */
import { describe, expect, test } from "vitest";
import { expectAllClose } from "../../kernels/testing/all-close.ts";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { fixtureText, loadGolden } from "../../kernels/testing/golden.ts";
import { kernelTolerance } from "../../kernels/testing/tolerances.ts";
import { expectPlain, folderOf, type PlainCase } from "../testing/plain-case.ts";
import {
  plainEmbedding,
  plainGatedMlp,
  plainLinear,
  plainRmsNorm,
  plainSum,
} from "../testing/plain-layers.ts";
import { plainMamba3, type PlainMamba3 } from "../testing/plain-mamba3.ts";
import { named, randomTensors } from "../testing/random-tensors.ts";

interface Case {
  readonly ngroups: number;
  readonly A_floor: number;
  readonly is_mimo: boolean;
  readonly mimo_rank: number;
  readonly is_outproj_norm: boolean;
  readonly A_activation: PlainMamba3["decay"];
  readonly d_model: number;
  readonly d_state: number;
  readonly headdim: number;
  readonly rope_fraction: number;
}

function plainOf(c: Case): PlainMamba3 {
  return {
    headDim: c.headdim,
    nGroup: c.ngroups,
    dState: c.d_state,
    nAngle: Math.floor((c.d_state * c.rope_fraction) / 2),
    mimo: c.is_mimo,
    rank: c.is_mimo ? c.mimo_rank : 1,
    norm: c.is_outproj_norm,
    decay: c.A_activation,
    aFloor: c.A_floor,
  };
}

describe("the loops", () => {
  const cases = JSON.parse(fixtureText("kernels/mamba3_mixer.json")) as Record<string, Case>;
  const golden = loadGolden("kernels/mamba3_mixer.safetensors");
  test.each(Object.entries(cases))("give the golden %s", (name, c) => {
    const u = golden.f32(`${name}.u`);
    const rows = Array.from({ length: u.shape[0] ?? 0 }, (_, t) =>
      Array.from(u.values.subarray(t * c.d_model, (t + 1) * c.d_model)),
    );
    const out = plainMamba3(rows, (tensor) => golden.f32(`${name}.param.${tensor}`), plainOf(c));
    const expected = golden.f32(`${name}.out`).values;
    expect(out.flat()).toHaveLength(expected.length);
    expectAllClose(out.flat(), expected, kernelTolerance(expected, rows.length), "out");
  });
});

const IDS = [3, 17, 0, 9, 9, 21, 5, 11];
const N_HEAD = 4;
const BASE = { d_model: 16, headdim: 8, A_floor: 0.3 };

/** Two layers, of which both or none have an MLP. */
function mamba3(c: Case, dFf: number): PlainCase {
  const { headDim, nGroup, dState, nAngle, mimo, rank, norm } = plainOf(c);
  const dInner = N_HEAD * headDim;
  const layer = (i: number): string => `backbone.layers.${i}.`;
  const perRank = { mimo_x: headDim, mimo_z: headDim, mimo_o: headDim };
  const shapes = [0, 1].map((i): Record<string, number[]> => ({
    [`${layer(i)}norm.weight`]: [c.d_model],
    [`${layer(i)}mixer.in_proj.weight`]: [
      2 * dInner + 2 * rank * nGroup * dState + 3 * N_HEAD + nAngle,
      c.d_model,
    ],
    [`${layer(i)}mixer.dt_bias`]: [N_HEAD],
    [`${layer(i)}mixer.D`]: [N_HEAD],
    [`${layer(i)}mixer.B_norm.weight`]: [dState],
    [`${layer(i)}mixer.C_norm.weight`]: [dState],
    [`${layer(i)}mixer.B_bias`]: [N_HEAD, rank, dState],
    [`${layer(i)}mixer.C_bias`]: [N_HEAD, rank, dState],
    ...Object.fromEntries(
      Object.entries(mimo ? perRank : {}).map(([name, width]) => [
        `${layer(i)}mixer.${name}`,
        [N_HEAD, rank, width],
      ]),
    ),
    ...(norm ? { [`${layer(i)}mixer.norm.weight`]: [dInner] } : {}),
    [`${layer(i)}mixer.out_proj.weight`]: [c.d_model, dInner],
    ...(dFf === 0
      ? {}
      : {
          [`${layer(i)}norm2.weight`]: [c.d_model],
          [`${layer(i)}mlp.fc1.weight`]: [2 * dFf, c.d_model],
          [`${layer(i)}mlp.fc2.weight`]: [c.d_model, dFf],
        }),
  }));
  const tensors = randomTensors(
    {
      "backbone.embedding.weight": [24, c.d_model],
      ...Object.assign({}, ...shapes),
      "backbone.norm_f.weight": [c.d_model],
      "lm_head.weight": [24, c.d_model],
    },
    95,
  );
  const w = named(tensors);
  let x = plainEmbedding(w("backbone.embedding.weight"), IDS);
  for (const i of [0, 1]) {
    const normed = plainRmsNorm(x, w(`${layer(i)}norm.weight`));
    x = plainSum(x, plainMamba3(normed, named(tensors, `${layer(i)}mixer.`), plainOf(c)));
    if (dFf === 0) continue;
    const fed = plainRmsNorm(x, w(`${layer(i)}norm2.weight`));
    const own = named(tensors, `${layer(i)}mlp.`);
    x = plainSum(x, plainGatedMlp(fed, own("fc1.weight"), own("fc2.weight")));
  }
  const { d_model, ...ssm } = c;
  return {
    files: folderOf(
      {
        d_model,
        d_intermediate: dFf,
        n_layer: 2,
        vocab_size: 23,
        pad_vocab_size_multiple: 8,
        ssm_cfg: { layer: "Mamba3", ...ssm },
        tie_embeddings: false,
      },
      tensors,
    ),
    ids: IDS,
    logits: plainLinear(plainRmsNorm(x, w("backbone.norm_f.weight")), w("lm_head.weight")),
  };
}

forEachBackend("flags of Mamba-3", (backend) => {
  test.each<readonly [string, Case, number]>([
    [
      "MIMO of rank 3 in two groups, a norm before the gate, all columns rotated",
      {
        ...BASE,
        ngroups: 2,
        d_state: 6,
        rope_fraction: 1,
        is_mimo: true,
        mimo_rank: 3,
        is_outproj_norm: true,
        A_activation: "heavy_tail",
      },
      0,
    ],
    [
      "SISO with the first release's A, a norm, an MLP behind each mixer",
      {
        ...BASE,
        ngroups: 4,
        d_state: 10,
        rope_fraction: 0.5,
        is_mimo: false,
        mimo_rank: 4,
        is_outproj_norm: true,
        A_activation: "softplus",
      },
      128,
    ],
  ])("%s gives what float64 loops give", async (_, c, dFf) => {
    await expectPlain(backend(), mamba3(c, dFf));
  });
});
