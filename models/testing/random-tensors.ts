import { seeded } from "../../kernels/testing/seeded.ts";
import type { TestTensor } from "./stored-tensors.ts";

/** Random tensors by shape, with values that keep activations near 1. */
export function randomTensors(
  shapes: Readonly<Record<string, readonly number[]>>,
  seed: number,
): Map<string, TestTensor> {
  const random = seeded(seed);
  return new Map(
    Object.entries(shapes).map(([name, shape]) => {
      const count = shape.reduce((product, side) => product * side, 1);
      return [name, { shape, values: randomValues(name, shape, count) }];
    }),
  );

  function randomValues(name: string, shape: readonly number[], count: number): Float32Array {
    if (name.endsWith("A_log")) return random.uniform(count, 0, 2.5);
    if (/dt_bias|dt_proj\.bias/.test(name)) return random.uniform(count, -4, -2);
    if (/norm.*weight|\.D$/.test(name)) return random.uniform(count, 0.5, 1.5);
    if (shape.length === 1) return random.normal(count, 0.3);
    return random.normal(count, 1 / Math.sqrt(shape.at(-1) ?? 1));
  }
}

/** The tensors of one mixer of Mamba, without biases in the projections; four taps, an expansion of two. */
export function mambaShapes(at: string, dModel: number, dState: number): Record<string, number[]> {
  const dInner = 2 * dModel;
  const rank = Math.ceil(dModel / 16);
  return {
    [`${at}A_log`]: [dInner, dState],
    [`${at}D`]: [dInner],
    [`${at}conv1d.weight`]: [dInner, 1, 4],
    [`${at}conv1d.bias`]: [dInner],
    [`${at}in_proj.weight`]: [2 * dInner, dModel],
    [`${at}x_proj.weight`]: [rank + 2 * dState, dInner],
    [`${at}dt_proj.weight`]: [dInner, rank],
    [`${at}dt_proj.bias`]: [dInner],
    [`${at}out_proj.weight`]: [dModel, dInner],
  };
}

/** The tensors of one mixer of Mamba-2, likewise. */
export function mamba2Shapes(
  at: string,
  dModel: number,
  { headDim, nGroup, dState }: { headDim: number; nGroup: number; dState: number },
): Record<string, number[]> {
  const dInner = 2 * dModel;
  const nHead = dInner / headDim;
  const channels = dInner + 2 * nGroup * dState;
  return {
    [`${at}A_log`]: [nHead],
    [`${at}D`]: [nHead],
    [`${at}dt_bias`]: [nHead],
    [`${at}conv1d.weight`]: [channels, 1, 4],
    [`${at}conv1d.bias`]: [channels],
    [`${at}in_proj.weight`]: [dInner + channels + nHead, dModel],
    [`${at}norm.weight`]: [dInner],
    [`${at}out_proj.weight`]: [dModel, dInner],
  };
}

/** The tensor under a name that follows `at`. @throws Error if there is none */
export function named(
  tensors: ReadonlyMap<string, TestTensor>,
  at = "",
): (name: string) => TestTensor {
  return (name) => {
    const tensor = tensors.get(at + name);
    if (tensor === undefined) throw new Error(`the test has no tensor ${at}${name}`);
    return tensor;
  };
}
