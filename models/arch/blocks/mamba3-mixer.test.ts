import { test } from "vitest";
import { expectAllClose } from "../../../kernels/testing/all-close.ts";
import { forEachBackend } from "../../../kernels/testing/for-each-backend.ts";
import { fixtureText, loadGolden } from "../../../kernels/testing/golden.ts";
import { runOp } from "../../../kernels/testing/op-runner.ts";
import { kernelTolerance } from "../../../kernels/testing/tolerances.ts";
import type { JsonObject } from "../../weights/json.ts";
import { ConfigFields } from "../config-fields.ts";
import { mamba3Mixer, mamba3MixerSlots, readMamba3Mixer } from "./mamba3-mixer.ts";

interface Case {
  readonly d_model: number;
  readonly L: number;
}
const cases = JSON.parse(fixtureText("kernels/mamba3_mixer.json")) as Record<
  string,
  Case & JsonObject
>;
const golden = loadGolden("kernels/mamba3_mixer.safetensors");

forEachBackend("mamba3-mixer", (backend) => {
  test.each(Object.entries(cases))("agrees with the golden %s", async (name, c) => {
    // The case's description is what `ssm_cfg` would be.
    const shape = readMamba3Mixer(new ConfigFields(c), c.d_model);
    const param = (tensor: string): Float32Array => golden.f32(`${name}.param.${tensor}`).values;
    const { nHead, headDim, dState, rank, mimo, outputNorm } = shape;
    const vector = (
      tensor: string,
      there = true,
    ): { rows: number; cols: number; values: Float32Array } => ({
      rows: 1,
      cols: there ? param(tensor).length : 1,
      values: there ? param(tensor) : new Float32Array(1),
    });
    const table = (
      tensor: string,
      cols: number,
      there = true,
    ): { rows: number; cols: number; values: Float32Array } => ({
      rows: nHead * rank,
      cols,
      values: there ? param(tensor) : new Float32Array(nHead * rank * cols),
    });
    const matrix = (
      tensor: string,
      cols: number,
    ): { rows: number; cols: number; values: Float32Array; use: "matrix" } => ({
      rows: param(tensor).length / cols,
      cols,
      values: param(tensor),
      use: "matrix",
    });
    const [angle, ssm, k, v] = mamba3MixerSlots("layers.0", shape).map(
      (slot) => new Float32Array(slot.shape.reduce((product, side) => product * side, 1)),
    );
    const { y } = await runOp(backend(), {
      batch: 1,
      length: c.L,
      inputs: { u: { cols: c.d_model, values: golden.f32(`${name}.u`).values } },
      states: {
        angle: angle ?? new Float32Array(),
        ssm: ssm ?? new Float32Array(),
        k: k ?? new Float32Array(),
        v: v ?? new Float32Array(),
      },
      weights: {
        inProj: matrix("in_proj.weight", c.d_model),
        outProj: matrix("out_proj.weight", nHead * headDim),
        dtBias: vector("dt_bias"),
        BNorm: vector("B_norm.weight"),
        CNorm: vector("C_norm.weight"),
        D: vector("D"),
        norm: vector("norm.weight", outputNorm),
        BBias: table("B_bias", dState),
        CBias: table("C_bias", dState),
        mimoX: table("mimo_x", headDim, mimo),
        mimoZ: table("mimo_z", headDim, mimo),
        mimoO: table("mimo_o", headDim, mimo),
      },
      record: (recorder, { inputs, states, weights }) =>
        mamba3Mixer(
          recorder,
          shape,
          {
            ...weights,
            norm: outputNorm ? weights.norm : null,
            mimoX: mimo ? weights.mimoX : null,
            mimoZ: mimo ? weights.mimoZ : null,
            mimoO: mimo ? weights.mimoO : null,
          },
          states,
          inputs.u,
        ),
    });
    const expected = golden.f32(`${name}.out`).values;
    expectAllClose(y, expected, kernelTolerance(expected, c.L), "out");
  });
});
