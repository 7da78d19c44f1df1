import { ACTIVATION_CODES } from "../../spec/activations.ts";
import { KernelError } from "../../spec/errors.ts";
import type { Operands } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import activate from "../../wgsl/activate.wgsl?raw";
import { floatWord, fold, type Dispatch, type DispatchContext } from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import { dtypeCodes, rowWords, scaleWords, valuesInVector } from "../../wgsl/packed.ts";
import { reductionFor } from "../../wgsl/reduce.ts";
import softplus from "../../wgsl/softplus.wgsl?raw";
import unpack from "../../wgsl/unpack.wgsl?raw";
import { describeFewRowsOnMatrices, goesToMatrices } from "./few-matrix.webgpu.ts";
import finish from "./finish.wgsl?raw";
import finishConv from "./finish-conv.wgsl?raw";
import { asFused, NORM_CODES, type FusedLinearOperands } from "./fused-linear.ts";
import type { LinearOperands } from "./linear.ts";
import { describeMatrixProduct, matrixUnitFor, TILED_FROM_ROWS } from "./linear-matrix.webgpu.ts";
import source from "./linear.wgsl?raw";
import operandsValues from "./operands-values.wgsl?raw";
import operandsVectors from "./operands-vectors.wgsl?raw";
import prologue from "./prologue.wgsl?raw";

/** Rows of W that a team computes. */
const TEAM_ROWS = 4;
/** Teams share rows of W until there are so many: memory answers late, and must be asked often. A CPU has few lanes. */
const WANTED_TEAMS = { hardware: 5120, software: 32 };
/** With several rows of x each load feeds many products, and it is the sums over lanes that cost. */
const WANTED_TEAMS_OF_ROWS = 1056;
const MOST_SPLIT = 8;

/** One dispatch a part of W, for few rows of x; see linear.wgsl, and few-matrix.wgsl for devices with matrix units. */
export function describeFewRows(operands: LinearOperands, context: DispatchContext): Dispatch[] {
  return describeFused(asFused(operands), context);
}

/** The same with all that a fused product does. */
export function describeFusedLinear(operands: Operands, context: DispatchContext): Dispatch[] {
  // Made by fuse.ts alone, whose type this is.
  const fused = operands as unknown as FusedLinearOperands;
  const unit = fused.x.rows < TILED_FROM_ROWS ? null : matrixUnitFor(fused.weight, context);
  return unit === null
    ? describeFused(fused, context)
    : describeMatrixProduct(fused, unit, context);
}

function describeFused(o: FusedLinearOperands, context: DispatchContext): Dispatch[] {
  const { x, z, weight, bias, residual, y, conv, convWeight, convState } = o;
  if (goesToMatrices(x.rows, weight, context)) return describeFewRowsOnMatrices(o, context);
  if (o.norm !== null && x.rows !== 1)
    throw new KernelError("backend", `a product of ${x.rows} rows cannot norm them on its way`);
  const reduction = reductionFor(context);
  const xRows = x.rows === 1 ? 1 : x.rows <= 4 ? 4 : x.rows <= 8 ? 8 : 16;
  const rowVectors = rowWords(weight.dtype, weight.cols) / 4;
  // Once each: a state that is read gets a copy for every place that is asked for.
  const places = { x: placeOf(x, context), z: placeOf(z, context) };
  const vectors = readsVectors(weight, [places.x, places.z]);
  const residualPlace = placeOf(residual, context);
  return context.parts(weight).map((part, index) => {
    const rowGroups = Math.ceil(part.rows / TEAM_ROWS) * Math.ceil(x.rows / xRows);
    const wanted = wantedTeams(xRows, context);
    const most = Math.min(MOST_SPLIT, powerOfTwo(rowVectors / reduction.team));
    const split = Math.min(most, powerOfTwo(wanted / rowGroups));
    const teams = Math.max(split, 4);
    return {
      shader: {
        name: `linear${vectors ? " by vectors" : ""}${conv === null ? "" : " with a convolution"}`,
        parts: [
          grid,
          unpack,
          softplus,
          activate,
          reduction.part,
          vectors ? operandsVectors : operandsValues,
          prologue,
          conv === null ? finish : finishConv,
          source,
        ],
        subgroups: reduction.subgroups,
      },
      entryPoint: "linear",
      constants: {
        DTYPE: dtypeCodes[weight.dtype],
        TEAM: reduction.team,
        TEAMS: teams,
        SPLIT: split,
        X_ROWS: xRows,
        NORM: NORM_CODES[o.norm ?? "none"],
        GATED: z === null ? 0 : 1,
        GATE_ACT: ACTIVATION_CODES[o.gateAct],
        HAS_NORM_WEIGHT: o.normWeight === null ? 0 : 1,
        ACT: ACTIVATION_CODES[o.act],
        ...(convWeight !== null && {
          D_CONV: convWeight.cols,
          CONV_BIAS: o.convBias === null ? 0 : 1,
          CONV_SILU: o.convSilu ? 1 : 0,
        }),
      },
      params: [
        x.rows,
        ...places.x,
        ...places.z,
        context.target(y),
        y.stride,
        ...residualPlace,
        part.firstRow,
        part.rows,
        weight.cols,
        rowVectors,
        scaleWords(weight.dtype, weight.cols),
        bias === null ? 0 : 1,
        residual === null ? 0 : 1,
        floatWord(o.scale),
        floatWord(o.gain),
        floatWord(o.residualScale),
        floatWord(o.over === "mean" ? weight.cols : 1),
        floatWord(o.eps),
        o.convFirst,
        convWeight?.rows ?? 0,
        conv === null ? 0 : context.target(conv),
        conv?.stride ?? 0,
        convState?.offset ?? 0,
        convState?.stride ?? 0,
      ],
      reads: [
        { kind: "values", weight, part: index },
        { kind: "scales", weight, part: index },
        { kind: "vector", weight: bias },
        { kind: "vector", weight: o.normWeight },
        ...(convWeight === null
          ? []
          : [
              { kind: "vector" as const, weight: convWeight },
              { kind: "vector" as const, weight: o.convBias },
            ]),
      ],
      state: convState,
      workgroups: fold(Math.ceil((rowGroups * split) / teams)),
    };
  });
}

/** Whether all rows that are read as factors start at multiples of 16 bytes, and end where W's vectors do. */
function readsVectors(weight: Weight, places: readonly Place[]): boolean {
  return (
    weight.cols % valuesInVector(weight.dtype) === 0 &&
    places.flat().every((words) => words % 4 === 0)
  );
}

/** Teams in all for which rows of W are shared between more of them. */
function wantedTeams(xRows: number, { software }: DispatchContext): number {
  if (software) return WANTED_TEAMS.software;
  return xRows === 1 ? WANTED_TEAMS.hardware : WANTED_TEAMS_OF_ROWS;
}

/** The first power of two from `value` on. */
function powerOfTwo(value: number): number {
  return 2 ** Math.max(0, Math.ceil(Math.log2(value)));
}

/** Arena index of the first value, and values from row to row. */
type Place = readonly [offset: number, stride: number];

function placeOf(tensor: Tensor | null, context: DispatchContext): Place {
  return tensor === null ? [0, 0] : [context.place(tensor), tensor.stride];
}
