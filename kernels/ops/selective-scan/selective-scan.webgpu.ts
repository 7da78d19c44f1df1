import {
  flagOf,
  fold,
  numberOf,
  optionalTensorOf,
  optionalWeightOf,
  tensorOf,
  weightOf,
  type Dispatch,
  type DispatchContext,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import softplus from "../../wgsl/softplus.wgsl?raw";
import type { Operands } from "../../spec/op.ts";
import { describeSelectiveScanStep } from "./selective-scan-step.webgpu.ts";
import source from "./selective-scan.wgsl?raw";

/**
 * Tokens of a chunk. Chunks double the arithmetic and let the whole device work: a GPU has tens of thousands of
 * lanes, a layer one thread a channel. Fixed, so that the same tokens always give the same bits.
 */
const CHUNK = 32;

/** One dispatch for one chunk, three for more; see selective-scan.wgsl. */
export function describeSelectiveScan(operands: Operands, context: DispatchContext): Dispatch[] {
  const x = tensorOf(operands, "x");
  const dtRaw = tensorOf(operands, "dtRaw");
  const dtBias = optionalWeightOf(operands, "dtBias");
  const A = weightOf(operands, "A");
  const B = tensorOf(operands, "B");
  const C = tensorOf(operands, "C");
  const D = optionalWeightOf(operands, "D");
  const z = optionalTensorOf(operands, "z");
  const state = tensorOf(operands, "state");
  const y = tensorOf(operands, "y");
  const length = numberOf(operands, "length");
  const nGroup = numberOf(operands, "nGroup");
  if (length === 1) {
    const dtSoftplus = flagOf(operands, "dtSoftplus") === 1;
    return describeSelectiveScanStep(
      { x, dtRaw, dtBias, dtSoftplus, A, B, C, D, z, state, nGroup, length, y },
      context,
    );
  }
  const batch = x.rows / length;
  const dInner = A.rows;
  const dState = A.cols;

  const chunk = length < 2 * CHUNK ? length : CHUNK;
  const chunks = Math.ceil(length / chunk);
  const sums = chunks === 1 ? 0 : context.scratch(batch * chunks * dInner);
  const ends = chunks === 1 ? 0 : context.scratch(batch * chunks * dInner * dState);
  const scan: Dispatch = {
    shader: {
      name: "selective-scan",
      parts: [grid, softplus, source],
      consts: { D_STATE: dState, STAGE: dState <= 64 ? 16 : 4 },
    },
    entryPoint: "selective_scan",
    constants: {
      D_INNER: dInner,
      GROUPS: nGroup,
      HAS_DT_BIAS: dtBias === null ? 0 : 1,
      DT_SOFTPLUS: flagOf(operands, "dtSoftplus"),
      HAS_D: D === null ? 0 : 1,
      HAS_Z: z === null ? 0 : 1,
      STAGED: (dInner / nGroup) % 64 === 0 || nGroup === 1 ? 1 : 0,
    },
    params: [
      batch,
      length,
      chunk,
      chunks,
      context.place(x),
      x.stride,
      context.place(dtRaw),
      dtRaw.stride,
      context.place(B),
      B.stride,
      context.place(C),
      C.stride,
      z === null ? 0 : context.place(z),
      z === null ? 0 : z.stride,
      context.target(y),
      y.stride,
      state.offset,
      state.stride,
      sums,
      ends,
    ],
    reads: [
      { kind: "vector", weight: A },
      { kind: "vector", weight: dtBias },
      { kind: "vector", weight: D },
    ],
    state,
    workgroups: fold(batch * chunks * Math.ceil(dInner / 64)),
  };
  if (chunks === 1) return [scan];
  return [
    { ...scan, entryPoint: "selective_scan_ends" },
    {
      ...scan,
      entryPoint: "selective_scan_combine",
      workgroups: fold(Math.ceil((batch * dInner * dState) / 64)),
    },
    scan,
  ];
}
