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

/** Columns that one team reduces alone: a head's. */
const ONE_TEAM_COLUMNS = 256;

/**
 * Teams of a workgroup that reduces `columns` values. At decode one row is all there is to do: many lanes, or its latency shows.
 */
export function groupTeams(context: DispatchContext, columns: number): number {
  return context.software || columns <= ONE_TEAM_COLUMNS ? 1 : 8;
}
