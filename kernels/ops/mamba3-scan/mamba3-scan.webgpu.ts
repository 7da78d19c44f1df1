import type { Operands } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import {
  floatWord,
  fold,
  numberOf,
  optionalWeightOf,
  tensorOf,
  weightOf,
  type Dispatch,
  type DispatchContext,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import softplus from "../../wgsl/softplus.wgsl?raw";
import source from "./mamba3-scan.wgsl?raw";

/**
 * The angles over all tokens, then the rows of h, then (with a norm) the heads' outputs, then the last token's k and v.
 * A dispatch writes one state; k and v of the token before the run are read as copies, made before the first.
 */
export function describeMamba3Scan(operands: Operands, context: DispatchContext): Dispatch[] {
  const x = tensorOf(operands, "x");
  const angleRaw = tensorOf(operands, "angleRaw");
  const keys = tensorOf(operands, "keys");
  const values = tensorOf(operands, "values");
  const y = tensorOf(operands, "y");
  const BBias = weightOf(operands, "BBias");
  const D = weightOf(operands, "D");
  const mimoX = optionalWeightOf(operands, "mimoX");
  const norm = optionalWeightOf(operands, "norm");
  const length = numberOf(operands, "length");
  const rank = numberOf(operands, "rank");
  const rows = x.rows;
  const batch = rows / length;
  const nHead = D.cols;
  const headDim = x.cols / nHead;
  const dState = BBias.cols;
  const nAngle = angleRaw.cols;

  const read = (name: string): number[] => {
    const tensor = tensorOf(operands, name);
    return [context.place(tensor), tensor.stride];
  };
  const inputs = ["x", "z", "B", "C", "dtRaw", "aRaw", "trap", "angleRaw"].flatMap(read);
  const target = [context.target(y), y.stride];
  const past = [context.place(keys), keys.stride, context.place(values), values.stride];
  const scratch = [
    context.scratch(rows * nHead * nAngle * 2),
    context.scratch(rows * nHead * 3),
    norm === null ? 0 : context.scratch(rows * rank * x.cols),
  ];

  function dispatch(
    entryPoint: string,
    state: Tensor | null,
    weights: readonly (Weight | null)[],
    threads: number,
  ): Dispatch {
    return {
      shader: {
        name: "mamba3-scan",
        parts: [grid, softplus, source],
        consts: { D_STATE: dState, RANK: rank },
      },
      entryPoint,
      constants: {
        HEADS: nHead,
        HEAD_DIM: headDim,
        GROUPS: numberOf(operands, "nGroup"),
        ANGLES: nAngle,
        SOFTPLUS_DECAY: operands["decay"] === "softplus" ? 1 : 0,
        NEIGHBOURS: operands["pairs"] === "neighbours" ? 1 : 0,
        HAS_MIMO: mimoX === null ? 0 : 1,
        HAS_NORM: norm === null ? 0 : 1,
      },
      params: [
        batch,
        length,
        floatWord(numberOf(operands, "eps")),
        floatWord(numberOf(operands, "aFloor")),
        ...inputs,
        ...target,
        state?.offset ?? 0,
        state?.stride ?? 0,
        ...past,
        ...scratch,
      ],
      reads: weights.map((weight) => ({ kind: "vector", weight })),
      state,
      workgroups: fold(Math.ceil(threads / 64)),
    };
  }

  const mimoZ = optionalWeightOf(operands, "mimoZ");
  const mimoO = optionalWeightOf(operands, "mimoO");
  const CBias = weightOf(operands, "CBias");
  const angles = tensorOf(operands, "angles");
  const all = (first: Weight | null): readonly (Weight | null)[] => [
    first,
    CBias,
    D,
    mimoX,
    mimoZ,
    mimoO,
  ];
  return [
    dispatch("mamba3_angles", angles, all(weightOf(operands, "dtBias")), batch * nHead * nAngle),
    dispatch("mamba3_scan", tensorOf(operands, "state"), all(BBias), batch * x.cols),
    ...(norm === null ? [] : [dispatch("mamba3_output", null, all(norm), rows * nHead)]),
    dispatch("mamba3_keys", keys, all(BBias), batch * nHead * rank * Math.ceil(dState / 2)),
    dispatch("mamba3_values", values, all(mimoX), batch * rank * x.cols),
  ];
}
