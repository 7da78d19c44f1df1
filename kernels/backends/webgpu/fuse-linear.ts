import type { ActivationOperands } from "../../ops/activation/activation.ts";
import type { CausalConv1dOperands } from "../../ops/causal-conv1d/causal-conv1d.ts";
import type { GateOperands } from "../../ops/gate/gate.ts";
import type { GatedRmsNormOperands } from "../../ops/gated-rms-norm/gated-rms-norm.ts";
import { goesToMatrices } from "../../ops/linear/few-matrix.webgpu.ts";
import { asFused, type FusedLinearOperands } from "../../ops/linear/fused-linear.ts";
import type { LinearOperands } from "../../ops/linear/linear.ts";
import { matrixUnitFor, TILED_FROM_ROWS } from "../../ops/linear/linear-matrix.webgpu.ts";
import type { RmsNormOperands } from "../../ops/rms-norm/rms-norm.ts";
import type { ScaledAddOperands } from "../../ops/scaled-add/scaled-add.ts";
import type { Tensor } from "../../spec/tensor.ts";
import { isSameTensor, type CallGraph, type FuseLimits } from "./call-graph.ts";

/** Calls that a product does besides its own work, and how it is told. */
interface Part {
  readonly taken: readonly number[];
  readonly does: Partial<FusedLinearOperands>;
}

/**
 * Puts norms and gates before products into them, and what follows products of few rows: functions, sums, a convolution.
 */
export function fuseLinears(graph: CallGraph, device: FuseLimits): void {
  // Whole norms at once: one that is left for another reader must be there for all of them.
  const parts = new Map<number, Part[]>();
  for (let at = 0; at < graph.length; at++) {
    const linear = graph.operands<LinearOperands>(at, "linear");
    if (linear === null) continue;
    const found = [
      ...(takesPrologue(linear, device) ? [prologue(graph, at, linear.x, device)] : []),
      ...(linear.x.rows < TILED_FROM_ROWS ? [epilogue(graph, at, linear)] : []),
    ].filter((part) => part !== null);
    if (found.length > 0) parts.set(at, found);
    // What follows has one product before it that can do it; what stands before is read by others, too.
    for (const call of found.at(-1)?.taken ?? []) if (call > at) graph.take(call);
  }
  for (const [at, found] of parts) {
    const linear = graph.operands<LinearOperands>(at, "linear");
    if (linear === null) continue;
    const operands: FusedLinearOperands = Object.assign(
      {},
      asFused(linear),
      ...found.map(({ does }) => does),
    );
    graph.replace(at, { op: "fused-linear", operands: { ...operands } });
  }
  for (const call of [...parts.values()].flat().flatMap(({ taken }) => taken)) graph.take(call);
}

/** Of several rows every team of lanes would norm them again; on matrix units they are made ready once. */
function takesPrologue({ x, weight }: LinearOperands, device: FuseLimits): boolean {
  return (
    x.rows === 1 ||
    goesToMatrices(x.rows, weight, device) ||
    (x.rows >= TILED_FROM_ROWS && matrixUnitFor(weight, device) !== null)
  );
}

/** The norm or gate that gives x, or both. */
function prologue(graph: CallGraph, at: number, x: Tensor, device: FuseLimits): Part | null {
  const by = graph.producer(x);
  if (by === null) return null;
  const norm = wholeNorm(graph, by);
  if (norm !== null) return ifAllCan(graph, device, by, norm.y, [norm.x], normOf(norm, "x", [by]));
  const gated = graph.operands<GatedRmsNormOperands>(by, "gated-rms-norm");
  if (gated?.groupSize === x.cols) {
    const does = { ...normOf(gated, "gated", [by]).does, z: gated.z, gateAct: "silu" as const };
    return ifAllCan(graph, device, by, gated.y, [gated.x, gated.z], { taken: [by], does });
  }
  const gate = graph.operands<GateOperands>(by, "gate");
  if (gate?.repeat !== 1) return null;
  const gates = { z: gate.a, gateAct: gate.act };
  const inner = graph.producer(gate.b);
  const normed = inner === null ? null : wholeNorm(graph, inner);
  if (inner !== null && normed !== null && graph.readers(gate.b)?.length === 1) {
    const part = normOf(normed, "x", [inner, by]);
    const whole = { ...part, does: { ...part.does, ...gates } };
    const can =
      graph.isUnwritten(normed.x, inner, at) &&
      ifAllCan(graph, device, by, gate.y, [gate.a, normed.x], whole);
    if (can !== false) return can;
  }
  return ifAllCan(graph, device, by, gate.y, [gate.a, gate.b], {
    taken: [by],
    does: { x: gate.b, ...gates },
  });
}

/** An rms-norm of one row as a whole. */
function wholeNorm(graph: CallGraph, at: number): RmsNormOperands | null {
  const norm = graph.operands<RmsNormOperands>(at, "rms-norm");
  return norm?.groupSize === norm?.x.cols ? norm : null;
}

function normOf(
  { x, weight, eps, ...rest }: RmsNormOperands | GatedRmsNormOperands,
  norm: "x" | "gated",
  taken: readonly number[],
): Part & { readonly does: Pick<FusedLinearOperands, "x"> } {
  const over = "over" in rest ? rest.over : "mean";
  return { taken, does: { x, norm, normWeight: weight, eps, over } };
}

/** The part, if every reader of y is a product that can have it: else y must be written all the same. */
function ifAllCan(
  graph: CallGraph,
  device: FuseLimits,
  by: number,
  y: Tensor,
  inputs: readonly Tensor[],
  part: Part,
): Part | null {
  const readers = graph.readers(y);
  const can = readers?.every((reader) => {
    const linear = graph.operands<LinearOperands>(reader, "linear");
    return (
      linear !== null &&
      takesPrologue(linear, device) &&
      isSameTensor(linear.x, y) &&
      (linear.residual === null || !isSameTensor(linear.residual, y)) &&
      inputs.every((input) => graph.isUnwritten(input, by, reader))
    );
  });
  return can === true ? part : null;
}

/** What is done with y: a step of a convolution over some columns, a function, or a sum with a residual. */
function epilogue(graph: CallGraph, at: number, linear: LinearOperands): Part | null {
  const { y, residual } = linear;
  const readers = graph.readers(y) ?? [];
  const conv = readers.map((reader) => convolution(graph, at, reader, y)).find((p) => p !== null);
  if (conv !== undefined) return conv;
  const [reader] = readers;
  if (readers.length !== 1 || residual !== null) return null;
  const activation = graph.operands<ActivationOperands>(reader, "activation");
  if (activation !== null && activation.bias === null && isSameTensor(activation.x, y)) {
    const { scale, act, gain } = activation;
    return { taken: [reader], does: { scale, act, gain, y: activation.y } };
  }
  const sum = graph.operands<ScaledAddOperands>(reader, "scaled-add");
  return sum === null ? null : scaledSum(graph, at, reader, y, sum);
}

/** gain · y + residualScale · residual */
function scaledSum(
  graph: CallGraph,
  at: number,
  reader: number,
  y: Tensor,
  { a, aScale, b, bScale, bias, y: sum }: ScaledAddOperands,
): Part | null {
  if (typeof aScale !== "number" || typeof bScale !== "number" || bias !== null) return null;
  const isFirst = isSameTensor(a, y);
  const other = isFirst ? b : a;
  if (!isFirst && (b === null || !isSameTensor(b, y))) return null;
  if (other !== null && (isSameTensor(other, y) || !isThere(graph, other, at, reader))) return null;
  const [gain, residualScale] = isFirst ? [aScale, bScale] : [bScale, aScale];
  return { taken: [reader], does: { gain, residual: other, residualScale, y: sum } };
}

/** Whether a tensor has at call `at` already what it has at call `reader`. */
function isThere(graph: CallGraph, tensor: Tensor, at: number, reader: number): boolean {
  return graph.isUnwritten(tensor, at - 1, reader);
}

/** The step of a convolution that alone reads its columns of y. */
function convolution(graph: CallGraph, at: number, reader: number, y: Tensor): Part | null {
  const conv = graph.operands<CausalConv1dOperands>(reader, "causal-conv1d");
  if (conv === null || conv.length !== 1) return null;
  const first = conv.x.offset - y.offset;
  const isColumns =
    conv.x.rows === y.rows &&
    (conv.x.stride === y.stride || y.rows === 1) &&
    first >= 0 &&
    first + conv.x.cols <= y.cols;
  if (!isColumns || graph.readers(conv.x)?.length !== 1) return null;
  if (!graph.isUnwritten(conv.state, at, reader)) return null;
  return {
    taken: [reader],
    does: {
      conv: conv.y,
      convFirst: first,
      convWeight: conv.weight,
      convBias: conv.bias,
      convState: conv.state,
      convSilu: conv.silu,
    },
  };
}
