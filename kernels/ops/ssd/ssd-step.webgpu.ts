import {
  flagOf,
  floatWord,
  fold,
  numberOf,
  type Dispatch,
  type DispatchContext,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import { reductionFor } from "../../wgsl/reduce.ts";
import softplus from "../../wgsl/softplus.wgsl?raw";
import type { Operands } from "../../spec/op.ts";
import source from "./ssd-step.wgsl?raw";

const TEAMS = 4;
/** Channels that a team steps together. */
const CHANNELS = 4;

/** The sizes of a call; head p belongs to group floor(p · nGroup / nHead). */
interface StepSizes {
  readonly batch: number;
  readonly nHead: number;
  readonly headDim: number;
  readonly nGroup: number;
  readonly dState: number;
}

/**
 * The step of a call with T = 1 by 16 bytes (ssd-step.wgsl), or null where not all sizes and places are multiples of four
 * values.
 * @param places offset and stride of x, dtRaw, B, C, z, y and the state
 */
export function describeSsdStep(
  operands: Operands,
  { batch, nHead, headDim, nGroup, dState }: StepSizes,
  places: readonly number[],
  call: Pick<Dispatch, "reads" | "state">,
  context: DispatchContext,
): Dispatch | null {
  // dt's are read one by one.
  const inVectors = [headDim, dState, ...places.slice(0, 2), ...places.slice(4)];
  if (!inVectors.every((values) => values % 4 === 0)) return null;
  const reduction = reductionFor(context);
  return {
    ...call,
    shader: {
      name: "ssd-step",
      parts: [grid, softplus, reduction.part, source],
      subgroups: reduction.subgroups,
    },
    entryPoint: "ssd_step",
    constants: {
      TEAM: reduction.team,
      TEAMS,
      HAS_DT_BIAS: operands["dtBias"] === null ? 0 : 1,
      DT_SOFTPLUS: flagOf(operands, "dtSoftplus"),
      HAS_D: operands["D"] === null ? 0 : 1,
      HAS_Z: operands["z"] === null ? 0 : 1,
    },
    params: [
      batch,
      nHead,
      headDim,
      nGroup,
      dState,
      ...places,
      floatWord(numberOf(operands, "dtMin")),
      floatWord(numberOf(operands, "dtMax")),
    ],
    constantParams: true,
    workgroups: fold(Math.ceil((batch * nHead * headDim) / CHANNELS / TEAMS)),
  };
}
