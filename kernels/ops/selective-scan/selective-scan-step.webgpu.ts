import type { Operands } from "../../spec/op.ts";
import type { Tensor } from "../../spec/tensor.ts";
import { floatWord, fold, type Dispatch, type DispatchContext } from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import { dtypeCodes, rowWords, scaleWords } from "../../wgsl/packed.ts";
import { reductionFor } from "../../wgsl/reduce.ts";
import softplus from "../../wgsl/softplus.wgsl?raw";
import unpack from "../../wgsl/unpack.wgsl?raw";
import type { FusedSelectiveScanOperands } from "./fused-selective-scan.ts";
import noNorms from "./selective-scan-no-norms.wgsl?raw";
import norms from "./selective-scan-norms.wgsl?raw";
import source from "./selective-scan-step.wgsl?raw";
import type { SelectiveScanOperands } from "./selective-scan.ts";

const TEAMS = 4;

/** The step of a call with T = 1; see selective-scan-step.wgsl. */
export function describeSelectiveScanStep(
  operands: SelectiveScanOperands,
  context: DispatchContext,
): Dispatch[] {
  const rest = { dtLow: null, dtWeight: null, normed: false, dtNorm: null, bNorm: null };
  return describeStep({ ...operands, ...rest, cNorm: null, eps: 0 }, context);
}

/** The same with what stands before it. */
export function describeFusedSelectiveScan(
  operands: Operands,
  context: DispatchContext,
): Dispatch[] {
  // Made by fuse.ts alone, whose type this is.
  return describeStep(operands as unknown as FusedSelectiveScanOperands, context);
}

function describeStep(o: FusedSelectiveScanOperands, context: DispatchContext): Dispatch[] {
  const { x, dtLow, dtWeight, z, state, y } = o;
  const reduction = reductionFor(context);
  const batch = x.rows;
  const [dInner, dState] = [o.A.rows, o.A.cols];
  const place = (tensor: Tensor | null): number[] =>
    tensor === null ? [0, 0] : [context.place(tensor), tensor.stride];
  return [
    {
      shader: {
        name: `selective-scan-step${o.normed ? " with norms" : ""}`,
        parts: [grid, softplus, unpack, reduction.part, o.normed ? norms : noNorms, source],
        subgroups: reduction.subgroups,
      },
      entryPoint: "selective_scan_step",
      constants: {
        TEAM: reduction.team,
        TEAMS,
        DTYPE: dtypeCodes[dtWeight?.dtype ?? "f32"],
        GROUPS: o.nGroup,
        HAS_DT_BIAS: o.dtBias === null ? 0 : 1,
        DT_SOFTPLUS: o.dtSoftplus ? 1 : 0,
        HAS_D: o.D === null ? 0 : 1,
        HAS_Z: z === null ? 0 : 1,
        PROJECTS_DT: dtWeight === null ? 0 : 1,
        NORMED: o.normed ? 1 : 0,
        HAS_DT_NORM: o.dtNorm === null ? 0 : 1,
        HAS_B_NORM: o.bNorm === null ? 0 : 1,
        HAS_C_NORM: o.cNorm === null ? 0 : 1,
      },
      params: [
        batch,
        dInner,
        dState,
        ...place(x),
        ...place(dtLow ?? o.dtRaw),
        ...place(o.B),
        ...place(o.C),
        ...place(z),
        context.target(y),
        y.stride,
        state.offset,
        state.stride,
        dtWeight?.cols ?? 0,
        dtWeight === null ? 0 : rowWords(dtWeight.dtype, dtWeight.cols) / 4,
        dtWeight === null ? 0 : scaleWords(dtWeight.dtype, dtWeight.cols),
        floatWord(o.eps),
      ],
      constantParams: true,
      reads: [
        { kind: "vector", weight: o.A },
        { kind: "vector", weight: o.dtBias },
        { kind: "vector", weight: o.D },
        ...(dtWeight === null
          ? [NOTHING, NOTHING]
          : [
              { kind: "values" as const, weight: dtWeight, part: 0 },
              { kind: "scales" as const, weight: dtWeight, part: 0 },
            ]),
        ...(o.normed
          ? [o.dtNorm, o.bNorm, o.cNorm].map((weight) => ({ kind: "vector" as const, weight }))
          : []),
      ],
      state,
      workgroups: fold(Math.ceil((batch * dInner) / TEAMS)),
    },
  ];
}

const NOTHING = { kind: "vector", weight: null } as const;
