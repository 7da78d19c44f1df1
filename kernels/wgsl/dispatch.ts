/**
 * How an op tells the WebGPU backend what to run: plain data, no GPU object. An op's `<op>.webgpu.ts` turns one call
 * into dispatches; kernels/backends/webgpu makes pipelines, bind groups and command buffers of them.
 *
 * Bindings of every shader:
 * - group 0, binding 0: uniform `params`, the words of `Dispatch.params`;
 * - group 0, binding 1: storage `arena`, read_write: every temporary and output of the plan, and scratch;
 * - group 0, binding 2 …: storage, read: `Dispatch.reads` in their order;
 * - group 1, binding 0: storage `state`, read_write, in ops that have a state; binding 1: `Dispatch.secondState`. The backend
 *   moves them behind the reads of group 0 (pipelines.ts).
 * One arena instead of a buffer a tensor keeps every op within 8 storage buffers, and lets an op read and write
 * views of the same buffer, which WebGPU forbids across two bindings.
 */
import { isActivation, type Activation } from "../spec/activations.ts";
import type { OpCall, Operand } from "../spec/op.ts";
import { KernelError } from "../spec/errors.ts";
import type { StateSlot, Tensor, Weight } from "../spec/tensor.ts";

/** A shader module as text parts, put one after the other. */
export interface Shader {
  /** Names the file in errors and GPU traces; with `consts` it identifies the module. */
  readonly name: string;
  readonly parts: readonly string[];
  /**
   * `const NAME: u32 = value;` lines put in front. Only for what WGSL needs at module creation (sizes of arrays of a
   * function); every other size is an `override` constant.
   */
  readonly consts?: Readonly<Record<string, number>>;
  /** Needs the device feature `subgroups`. */
  readonly subgroups?: boolean;
  /** Needs the device feature `shader-f16`. */
  readonly f16?: boolean;
  /** Needs `DispatchContext.subgroupMatrix`. */
  readonly subgroupMatrix?: boolean;
}

/** What stands behind a read-only binding. */
export type Read =
  /** The packed values of one part of a matrix. */
  | { readonly kind: "values"; readonly weight: Weight; readonly part: number }
  /** The scales of one part of a matrix; an unused buffer where the dtype has none. */
  | { readonly kind: "scales"; readonly weight: Weight; readonly part: number }
  /** A weight of use `vector`, f32, dense; an unused buffer for null. */
  | { readonly kind: "vector"; readonly weight: Weight | null }
  /** (1 + B) i32: tokens that each sequence has room for in slots that grow; then those that each was fed before the run. */
  | { readonly kind: "positions" };

/** One `dispatchWorkgroups`. */
export interface Dispatch {
  readonly shader: Shader;
  /** Its name is the op's; it shows in GPU traces. */
  readonly entryPoint: string;
  /** `override` constants. */
  readonly constants: Readonly<Record<string, number>>;
  /** 32-bit words of the uniform struct, in the order of its members (see `floatWord`). */
  readonly params: readonly number[];
  /**
   * Whether `params` may be compiled into the shader, where few dispatches of a program differ in them: one that waits for the
   * dispatch before it would wait for its uniform, too. None of them may be a divisor and 0.
   */
  readonly constantParams?: boolean;
  readonly reads: readonly Read[];
  /** The state that group 1 binds. */
  readonly state: Tensor | null;
  /** Another one. */
  readonly secondState?: Tensor;
  readonly workgroups: readonly [number, number, number];
  /** For profiles, of a dispatch that is not all of its call: bytes read and written, FLOP of products. */
  readonly cost?: { readonly bytes: number; readonly flop: number };
}

/** Rows of a matrix that lie in one GPU buffer; a matrix larger than one binding has several parts. */
export interface WeightPart {
  readonly firstRow: number;
  readonly rows: number;
}

/** A product (m, k) × (k, n) that a subgroup computes as one. */
export interface SubgroupMatrixShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

/** What an op may ask about the device and the places of its operands. */
export interface DispatchContext {
  /** Lanes of a subgroup, where the device has the feature and one size only; else null. */
  readonly subgroupSize: number | null;
  /** Whether shaders may `enable f16`. */
  readonly f16: boolean;
  /** Of f16 factors with f32 sums; sides are 8 or 16. Null where the device has none; else `f16` is true too. */
  readonly subgroupMatrix: SubgroupMatrixShape | null;
  /** Whether large products of the plan round both factors to f16 once: what stands between them may do so, too. */
  readonly roundsToF16: boolean;
  /** A CPU that plays a GPU: few lanes, slow barriers, no need for parallel work. */
  readonly software: boolean;
  /** The arena index of the first value of a tensor that is read. A state that is read so is copied in before the call. */
  place(tensor: Tensor): number;
  /** The same for a tensor that is written. @throws KernelError `backend` for states, which only `Dispatch.state` writes */
  target(tensor: Tensor): number;
  /** The slot behind a state. @throws KernelError `backend` for another tensor */
  slot(tensor: Tensor): StateSlot;
  /** The arena index of the run's token ids, (B, T) i32. */
  readonly ids: number;
  /** The arena index of `values` f32 values that live during this call only. */
  scratch(values: number): number;
  /** @throws KernelError `dtype` if the weight was not uploaded as a matrix */
  parts(weight: Weight): readonly WeightPart[];
}

/** Turns one call into dispatches. */
export type Describe = (
  operands: OpCall["operands"],
  context: DispatchContext,
) => readonly Dispatch[];

/** The slots that a dispatch binds. */
export function slotsOf({ state, secondState }: Dispatch): number[] {
  return [state, secondState]
    .filter((tensor) => tensor !== null && tensor !== undefined)
    .map(({ buffer }) => buffer.index);
}

/** WebGPU's `maxComputeWorkgroupsPerDimension`; more is folded into y and unfolded by `workgroup_index` in WGSL. */
const MAX_WORKGROUPS = 65535;

/** A grid of at least `count` workgroups; shaders stop at their own bound. */
export function fold(count: number): [number, number, number] {
  return count <= MAX_WORKGROUPS
    ? [count, 1, 1]
    : [MAX_WORKGROUPS, Math.ceil(count / MAX_WORKGROUPS), 1];
}

const floatBits = new Float32Array(1);
const wordBits = new Uint32Array(floatBits.buffer);

/** The bits of an f32, for `Dispatch.params`. Infinity becomes the largest f32, which WGSL may count on. */
export function floatWord(value: number): number {
  floatBits[0] = Math.min(Math.max(value, -3.4028234663852886e38), 3.4028234663852886e38);
  return wordBits[0];
}

/** The operand as a tensor. @throws KernelError `backend` if it is something else */
export function tensorOf(operands: OpCall["operands"], name: string): Tensor {
  const value = operands[name];
  if (isObject(value) && "buffer" in value) return value;
  throw wrongOperand(name, "a tensor");
}

/** The operand as a tensor, or null. @throws KernelError `backend` if it is something else */
export function optionalTensorOf(operands: OpCall["operands"], name: string): Tensor | null {
  return operands[name] === null ? null : tensorOf(operands, name);
}

/** The operand as a weight. @throws KernelError `backend` if it is something else */
export function weightOf(operands: OpCall["operands"], name: string): Weight {
  const value = operands[name];
  if (isObject(value) && "dtype" in value) return value;
  throw wrongOperand(name, "a weight");
}

/** The operand as a weight, or null. @throws KernelError `backend` if it is something else */
export function optionalWeightOf(operands: OpCall["operands"], name: string): Weight | null {
  return operands[name] === null ? null : weightOf(operands, name);
}

/** The operand as a number. @throws KernelError `backend` if it is something else */
export function numberOf(operands: OpCall["operands"], name: string): number {
  const value = operands[name];
  if (typeof value === "number") return value;
  throw wrongOperand(name, "a number");
}

/** The operand as 0 or 1, for `override` constants. @throws KernelError `backend` if it is not a switch */
export function flagOf(operands: OpCall["operands"], name: string): number {
  const value = operands[name];
  if (typeof value === "boolean") return value ? 1 : 0;
  throw wrongOperand(name, "a switch");
}

/** The operand as the name of an elementwise function. @throws KernelError `backend` if it is something else */
export function activationOf(operands: OpCall["operands"], name: string): Activation {
  const value = operands[name];
  if (typeof value === "string" && isActivation(value)) return value;
  throw wrongOperand(name, "an activation");
}

function isObject(value: Operand | undefined): value is Tensor | Weight {
  return typeof value === "object" && value !== null;
}

function wrongOperand(name: string, expected: string): KernelError {
  return new KernelError("backend", `operand ${name} is not ${expected}`, { operand: name });
}
