import { test } from "vitest";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp, type OpTrial } from "../../testing/op-runner.ts";
import { seeded } from "../../testing/seeded.ts";
import { gatedDelta, type GatedDeltaOperands } from "./gated-delta.ts";

interface Size {
  readonly batch: number;
  readonly length: number;
  readonly nKeyHead: number;
  readonly nValueHead: number;
  readonly headDimK: number;
  readonly headDimV: number;
  readonly perChannel: boolean;
  readonly keyHeads: GatedDeltaOperands["keyHeads"];
  readonly betaScale: number;
}

type Trial = OpTrial<"q" | "k" | "v" | "dtRaw" | "betaRaw", "S", "dtBias" | "A">;

/** Queries and keys of L2 norm 1 a head, as the op expects them. */
function unit(values: Float32Array, headDim: number): Float32Array {
  return values.map((value, i) => {
    const head = values.subarray(i - (i % headDim), i - (i % headDim) + headDim);
    return value / Math.hypot(...head);
  });
}

function trial(size: Size): Trial {
  const { batch, length, nKeyHead, nValueHead, headDimK, headDimV, perChannel } = size;
  const random = seeded(length * headDimK + headDimV);
  const rows = batch * length;
  const dKey = nKeyHead * headDimK;
  const dValue = nValueHead * headDimV;
  const decays = nValueHead * (perChannel ? headDimK : 1);
  return {
    batch,
    length,
    inputs: {
      // As in a model: q and k are views of one tensor, β and dt of another.
      q: { cols: dKey, values: unit(random.normal(rows * dKey), headDimK), margin: [0, dKey] },
      k: { cols: dKey, values: unit(random.normal(rows * dKey), headDimK), margin: [dKey, 0] },
      v: { cols: dValue, values: random.normal(rows * dValue), margin: [3, 2] },
      betaRaw: { cols: nValueHead, values: random.normal(rows * nValueHead), margin: [0, decays] },
      dtRaw: { cols: decays, values: random.normal(rows * decays), margin: [nValueHead, 0] },
    },
    states: { S: random.normal(batch * nValueHead * headDimK * headDimV) },
    weights: {
      dtBias: { rows: 1, cols: decays, values: random.uniform(decays, -4, 1) },
      A: { rows: 1, cols: nValueHead, values: random.uniform(nValueHead, -4, -0.1) },
    },
    record: (k, { inputs, states, weights }) =>
      gatedDelta(k, {
        ...inputs,
        ...weights,
        state: states.S,
        nKeyHead,
        nValueHead,
        headDimK,
        headDimV,
        keyHeads: size.keyHeads,
        betaScale: size.betaScale,
        scale: headDimK ** -0.5,
      }),
  };
}

forEachBackend("gated-delta", (backend) => {
  test("replaces what the memory holds for a key, and decays the rest", async () => {
    // One head of two key and two value columns. β = σ(0) = 1/2; α = exp(−softplus(0)) = 1/2.
    const { y, states } = await runOp(backend(), {
      batch: 1,
      length: 2,
      inputs: {
        q: { cols: 2, values: Float32Array.of(1, 0, 0, 1) },
        k: { cols: 2, values: Float32Array.of(1, 0, 0.6, 0.8) },
        v: { cols: 2, values: Float32Array.of(6, -2, 1, 0) },
        dtRaw: { cols: 1, values: Float32Array.of(0, 0) },
        betaRaw: { cols: 1, values: Float32Array.of(0, 0) },
      },
      states: { S: Float32Array.of(4, 8, -2, 12) },
      weights: {
        dtBias: { rows: 1, cols: 1, values: Float32Array.of(0) },
        A: { rows: 1, cols: 1, values: Float32Array.of(-1) },
      },
      record: (k, { inputs, states, weights }) =>
        gatedDelta(k, {
          ...inputs,
          ...weights,
          state: states.S,
          nKeyHead: 1,
          nValueHead: 1,
          headDimK: 2,
          headDimV: 2,
          keyHeads: "grouped",
          betaScale: 1,
          scale: 2,
        }),
    });
    // Token 0: S decays to (2, 4; −1, 6); k holds (2, 4), wants (6, −2): half the way, (4, 1; −1, 6).
    // Token 1: S decays to (2, .5; −.5, 3); k holds (.8, 2.7), wants (1, 0): δ = (.1, −1.35), S += k δᵀ.
    const close = { absolute: 1e-5, relative: 0 };
    expectAllClose(y, [8, 2, 2 * -0.42, 2 * 1.92], close, "y");
    expectAllClose(states.S, [2.06, -0.31, -0.42, 1.92], close, "S");
  });

  test.each<Omit<Size, "betaScale" | "keyHeads"> & Partial<Size>>([
    {
      batch: 1,
      length: 1,
      nKeyHead: 1,
      nValueHead: 1,
      headDimK: 1,
      headDimV: 1,
      perChannel: false,
    },
    {
      batch: 4,
      length: 1,
      nKeyHead: 2,
      nValueHead: 4,
      headDimK: 64,
      headDimV: 48,
      perChannel: false,
    },
    {
      batch: 2,
      length: 17,
      nKeyHead: 2,
      nValueHead: 6,
      headDimK: 7,
      headDimV: 5,
      perChannel: false,
    },
    {
      batch: 2,
      length: 9,
      nKeyHead: 2,
      nValueHead: 6,
      headDimK: 12,
      headDimV: 35,
      perChannel: false,
      keyHeads: "tiled",
      betaScale: 2,
    },
    {
      batch: 1,
      length: 33,
      nKeyHead: 2,
      nValueHead: 2,
      headDimK: 20,
      headDimV: 18,
      perChannel: true,
    },
    { batch: 2, length: 3, nKeyHead: 3, nValueHead: 3, headDimK: 5, headDimV: 9, perChannel: true },
    {
      batch: 1,
      length: 70,
      nKeyHead: 1,
      nValueHead: 1,
      headDimK: 128,
      headDimV: 16,
      perChannel: false,
    },
  ])(
    "agrees with the reference: $batch × $length, $nKeyHead → $nValueHead heads of ($headDimK, $headDimV)",
    async (size) => {
      await expectLikeReference(backend(), trial({ keyHeads: "grouped", betaScale: 1, ...size }));
    },
  );
});
