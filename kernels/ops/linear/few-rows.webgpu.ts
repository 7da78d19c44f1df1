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
import { asFused, type FusedLinearOperands } from "./fused-linear.ts";
import { prologueConstants } from "./halves.webgpu.ts";
import type { LinearOperands } from "./linear.ts";
import { describeMatrixProduct, matrixUnitFor, TILED_FROM_ROWS } from "./linear-matrix.webgpu.ts";
import params from "./linear-params.wgsl?raw";
import rowSource from "./linear-row.wgsl?raw";
import source from "./linear.wgsl?raw";
import operandsValues from "./operands-values.wgsl?raw";
import operandsVectors from "./operands-vectors.wgsl?raw";
import prologue from "./prologue.wgsl?raw";

/** Rows of W that a team computes for several rows of x, and at most for one. */
const TEAM_ROWS = 4;
/** Teams share rows of W until there are so many: memory answers late, and must be asked often. A CPU has few lanes. */
const WANTED_TEAMS = { hardware: 4500, software: 32 };
/** With several rows of x each load feeds many products, and it is the sums over lanes that cost. */
const WANTED_TEAMS_OF_ROWS = 1056;
const MOST_SPLIT = 8;
/** Vectors of one row of W that a lane takes at most, one behind the other, where rows can be shared. */
const MOST_TURNS = 5;
/** Values in a vector from which on each needs so much of x that a team computes two rows of W at least. */
const MANY_VALUES = 16;

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
  const isRow = x.rows === 1;
  const xRows = isRow ? 1 : x.rows <= 4 ? 4 : x.rows <= 8 ? 8 : 16;
  const rowVectors = rowWords(weight.dtype, weight.cols) / 4;
  // Once each: a state that is read gets a copy for every place that is asked for.
  const places = { x: placeOf(x, context), z: placeOf(z, context) };
  const vectors = readsVectors(weight, [places.x, places.z]);
  const residualPlace = placeOf(residual, context);
  return context.parts(weight).map((part, index) => {
    const turns = Math.ceil(rowVectors / reduction.team);
    const { rows, split, teams, workgroups } = isRow
      ? divideForRow(part.rows, turns, valuesInVector(weight.dtype), context.software)
      : divideForRows(part.rows, Math.ceil(x.rows / xRows), turns, context.software);
    return {
      shader: {
        name: `${isRow ? "linear-row" : "linear"}${vectors ? " by vectors" : ""}${conv === null ? "" : " with a convolution"}`,
        parts: [
          grid,
          unpack,
          softplus,
          activate,
          reduction.part,
          vectors ? operandsVectors : operandsValues,
          prologue,
          conv === null ? finish : finishConv,
          params,
          isRow ? rowSource : source,
        ],
        subgroups: reduction.subgroups,
      },
      entryPoint: isRow ? "linear_row" : "linear",
      constants: {
        DTYPE: dtypeCodes[weight.dtype],
        TEAM: reduction.team,
        TEAMS: teams,
        SPLIT: split,
        ...(isRow ? { ROWS: rows } : { X_ROWS: xRows }),
        ...prologueConstants(o),
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
      constantParams: isRow,
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
      workgroups: fold(workgroups),
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

/** How the rows of W and the columns are divided among teams. */
interface Division {
  /** Rows of W that a team computes. */
  readonly rows: number;
  /** Teams that share them, a part of the columns each. */
  readonly split: number;
  /** Of a workgroup. */
  readonly teams: number;
  readonly workgroups: number;
}

/**
 * For several rows of x.
 * @param times how often W is walked over: once for so many rows of x
 * @param turns vectors of a row of W that a lane would take alone
 */
function divideForRows(
  partRows: number,
  times: number,
  turns: number,
  software: boolean,
): Division {
  const wanted = software ? WANTED_TEAMS.software : WANTED_TEAMS_OF_ROWS;
  const groups = Math.ceil(partRows / TEAM_ROWS) * times;
  const split = Math.min(MOST_SPLIT, powerOfTwo(turns), powerOfTwo(wanted / groups));
  return division(TEAM_ROWS, split, groups);
}

/**
 * For one row of x: as many rows of W a team, and as few teams that share them, as give enough teams with lanes that are all
 * busy to the last turn; else as many teams as there can be.
 * @param turns as above
 */
function divideForRow(
  partRows: number,
  turns: number,
  values: number,
  software: boolean,
): Division {
  const wanted = software ? WANTED_TEAMS.software : WANTED_TEAMS.hardware;
  const splits = Array.from({ length: Math.min(MOST_SPLIT, turns) }, (_, i) => i + 1).filter(
    (split) => 8 * (Math.ceil(turns / split) * split - turns) <= turns,
  );
  const most = splits.at(-1) ?? 1;
  const fewest = software ? TEAM_ROWS : values >= MANY_VALUES ? 2 : 1;
  for (let rows = TEAM_ROWS; ; rows /= 2) {
    const groups = Math.ceil(partRows / rows);
    const enough = splits.find(
      (split) =>
        groups * split >= wanted && (software || split === most || turns <= MOST_TURNS * split),
    );
    if (enough !== undefined || rows === fewest) return division(rows, enough ?? most, groups);
  }
}

function division(rows: number, split: number, groups: number): Division {
  const teams = split * Math.max(1, Math.floor(4 / split));
  return { rows, split, teams, workgroups: Math.ceil((groups * split) / teams) };
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
