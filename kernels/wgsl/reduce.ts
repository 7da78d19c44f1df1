import type { DispatchContext } from "./dispatch.ts";
import reduce from "./reduce.wgsl?raw";
import reduceSubgroups from "./reduce-subgroups.wgsl?raw";

/** Lanes of a team where subgroups are missing. */
const TEAM_WITHOUT_SUBGROUPS = 32;

/** Which of the two reductions a device gets, and its team size. */
export interface Reduction {
  readonly part: string;
  readonly subgroups: boolean;
  /** Lanes of a team. */
  readonly team: number;
}

/** By subgroups where the device has one subgroup size, else through workgroup memory. */
export function reductionFor(context: DispatchContext): Reduction {
  return context.subgroupSize === null
    ? { part: reduce, subgroups: false, team: TEAM_WITHOUT_SUBGROUPS }
    : { part: reduceSubgroups, subgroups: true, team: context.subgroupSize };
}
