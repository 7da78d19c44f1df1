import { fold } from "./dispatch.ts";

/** Threads of a workgroup, as elementwise.wgsl has it. */
const THREADS = 64;

/** The workgroups of an op with a thread for each value of (rows, cols). */
export function elementwiseGrid(rows: number, cols: number): [number, number, number] {
  return fold(rows * Math.ceil(cols / THREADS));
}
