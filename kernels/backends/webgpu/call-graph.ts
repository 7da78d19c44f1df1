import { isOpName, ops } from "../../ops/index.ts";
import { isTensor } from "../../plan/recorder.ts";
import type { OpCall, Plan } from "../../spec/op.ts";
import type { Tensor } from "../../spec/tensor.ts";
import type { SubgroupMatrixShape } from "../../wgsl/dispatch.ts";

/** What the device allows. */
export interface FuseLimits {
  /** Storage buffers that one kernel may bind. */
  readonly storageBuffers: number;
  /** Matrix units, where the device has them, and its subgroups. */
  readonly subgroupMatrix: SubgroupMatrixShape | null;
  readonly subgroupSize: number | null;
}

/** A plan's calls: who writes and who reads what, and which of them were put into others. */
export interface CallGraph {
  readonly length: number;
  /**
   * The operands of call `at` if it is that op, as recorded (its binding there `satisfies Operands`); null if it is
   * another, was taken or replaced.
   */
  operands<Operands>(at: number, op: string): Operands | null;
  /** The one call that writes a temporary, if it writes this tensor as a whole. */
  producer(tensor: Tensor): number | null;
  /** The calls that read any of a temporary's values; null for what may be read after the run, too. */
  readers(tensor: Tensor): readonly number[] | null;
  /** Whether no call in `from + 1 … to - 1` writes any of these values. */
  isUnwritten(tensor: Tensor, from: number, to: number): boolean;
  /** Leaves a call out: another does its work. */
  take(at: number): void;
  /** Puts a call in the place of call `at`. */
  replace(at: number, call: OpCall): void;
  calls(): OpCall[];
}

/** @param plan with temporaries as recorded, not shared yet */
export function createCallGraph(plan: Plan): CallGraph {
  const calls: (OpCall | null)[] = [...plan.calls];
  const touches = plan.calls.map(touchesOf);
  return {
    length: calls.length,
    operands<Operands>(at: number, op: string) {
      const call = plan.calls[at];
      return call.op === op && calls[at] === call ? (call.operands as Operands) : null;
    },
    producer(tensor) {
      if (tensor.buffer.kind !== "temporary") return null;
      const writers = touches.flatMap(({ written }, at) =>
        written.some((y) => isSameBuffer(y, tensor)) ? [at] : [],
      );
      if (writers.length !== 1) return null;
      const [at] = writers;
      return touches[at].written.some((y) => isSameTensor(y, tensor)) ? at : null;
    },
    readers: (tensor) =>
      tensor.buffer.kind === "temporary"
        ? touches.flatMap(({ read }, at) => (read.some((x) => overlap(x, tensor)) ? [at] : []))
        : null,
    isUnwritten: (tensor, from, to) =>
      touches.slice(from + 1, to).every(({ written }) => !written.some((y) => overlap(y, tensor))),
    take: (at) => void (calls[at] = null),
    replace: (at, call) => void (calls[at] = call),
    calls: () => calls.filter((call) => call !== null),
  };
}

interface Touches {
  readonly read: readonly Tensor[];
  readonly written: readonly Tensor[];
}

function touchesOf({ op, operands }: OpCall): Touches {
  const access: Readonly<Record<string, string>> = isOpName(op) ? ops[op].declaration.access : {};
  const read: Tensor[] = [];
  const written: Tensor[] = [];
  for (const [name, operand] of Object.entries(operands)) {
    if (!isTensor(operand)) continue;
    // What an op does not declare may be anything.
    const how = access[name] ?? "update";
    if (how !== "write") read.push(operand);
    if (how !== "read") written.push(operand);
  }
  return { read, written };
}

/** The same values in the same order. */
export function isSameTensor(a: Tensor, b: Tensor): boolean {
  return (
    isSameBuffer(a, b) &&
    a.offset === b.offset &&
    a.rows === b.rows &&
    a.cols === b.cols &&
    (a.stride === b.stride || a.rows === 1)
  );
}

function isSameBuffer(a: Tensor, b: Tensor): boolean {
  return a.buffer.kind === b.buffer.kind && a.buffer.index === b.buffer.index;
}

/** Whether two tensors may have values in common. */
function overlap(a: Tensor, b: Tensor): boolean {
  if (!isSameBuffer(a, b)) return false;
  if (a.stride === b.stride) {
    // Columns of the same rows, if neither runs over the end of a row.
    const [first, second] = [a.offset % a.stride, b.offset % b.stride];
    if (first + a.cols <= a.stride && second + b.cols <= b.stride)
      return first < second + b.cols && second < first + a.cols;
  }
  return a.offset < endOf(b) && b.offset < endOf(a);
}

function endOf({ offset, rows, cols, stride }: Tensor): number {
  return offset + (rows - 1) * stride + cols;
}
