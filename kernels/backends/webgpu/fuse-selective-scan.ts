import type { FusedSelectiveScanOperands } from "../../ops/selective-scan/fused-selective-scan.ts";
import type { LinearOperands } from "../../ops/linear/linear.ts";
import type { RmsNormOperands } from "../../ops/rms-norm/rms-norm.ts";
import type { SelectiveScanOperands } from "../../ops/selective-scan/selective-scan.ts";
import type { Tensor } from "../../spec/tensor.ts";
import type { CallGraph, FuseLimits } from "./call-graph.ts";

/** Values of dt's projection beyond which nobody has one; below, it lies in one GPU buffer. */
const MOST_VALUES = 2 ** 24;
/** Storage buffers that a step binds with norms. */
const BUFFERS_WITH_NORMS = 10;

/** Puts dt's projection into the step that uses it, and the norms of dt, B and C (Jamba, Falcon Mamba). */
export function fuseSelectiveScans(graph: CallGraph, { storageBuffers }: FuseLimits): void {
  for (let at = 0; at < graph.length; at++) {
    const scan = graph.operands<SelectiveScanOperands>(at, "selective-scan");
    if (scan === null || scan.length !== 1) continue;
    const by = soleProducer(graph, scan.dtRaw, at);
    const linear = by === null ? null : graph.operands<LinearOperands>(by, "linear");
    if (by === null || linear === null || linear.bias !== null || linear.residual !== null)
      continue;
    if (linear.weight.rows * linear.weight.cols > MOST_VALUES) continue;
    if (!graph.isUnwritten(linear.x, by, at)) continue;
    const plain: FusedSelectiveScanOperands = {
      ...scan,
      dtRaw: null,
      dtLow: linear.x,
      dtWeight: linear.weight,
      normed: false,
      dtNorm: null,
      bNorm: null,
      cNorm: null,
      eps: 0,
    };
    const normed = storageBuffers < BUFFERS_WITH_NORMS ? null : withNorms(graph, at, by, plain);
    graph.replace(at, {
      op: "fused-selective-scan",
      operands: { ...(normed?.operands ?? plain) },
    });
    for (const call of [by, ...(normed?.taken ?? [])]) graph.take(call);
  }
}

/** The step with all three norms in it, if all three are there. */
function withNorms(
  graph: CallGraph,
  at: number,
  projection: number,
  plain: FusedSelectiveScanOperands,
): { readonly operands: FusedSelectiveScanOperands; readonly taken: readonly number[] } | null {
  const { dtLow, B, C, nGroup } = plain;
  if (dtLow === null || nGroup !== 1) return null;
  const norms = [
    normBefore(graph, dtLow, projection, at),
    normBefore(graph, B, at, at),
    normBefore(graph, C, at, at),
  ];
  const [dt, b, c] = norms;
  if (dt === null || b === null || c === null) return null;
  if (dt.norm.eps !== b.norm.eps || dt.norm.eps !== c.norm.eps) return null;
  return {
    taken: [dt.at, b.at, c.at],
    operands: {
      ...plain,
      dtLow: dt.norm.x,
      B: b.norm.x,
      C: c.norm.x,
      normed: true,
      dtNorm: dt.norm.weight,
      bNorm: b.norm.weight,
      cNorm: c.norm.weight,
      eps: dt.norm.eps,
    },
  };
}

/** The norm over all of a tensor that only call `reader` reads, its input still there at call `until`. */
function normBefore(
  graph: CallGraph,
  tensor: Tensor,
  reader: number,
  until: number,
): { readonly at: number; readonly norm: RmsNormOperands } | null {
  const at = soleProducer(graph, tensor, reader);
  const norm = at === null ? null : graph.operands<RmsNormOperands>(at, "rms-norm");
  if (at === null || norm === null) return null;
  if (norm.groupSize !== norm.x.cols || norm.over !== "mean") return null;
  return graph.isUnwritten(norm.x, at, until) ? { at, norm } : null;
}

/** The call that makes a tensor for call `reader` alone. */
function soleProducer(graph: CallGraph, tensor: Tensor, reader: number): number | null {
  const readers = graph.readers(tensor);
  return readers?.length === 1 && readers[0] === reader ? graph.producer(tensor) : null;
}
