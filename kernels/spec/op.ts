import type { StateLayout, Tensor, Weight } from "./tensor.ts";

/** A value that an op call names: a tensor, a packed weight, a number or a switch; null where an option is off. */
export type Operand = Tensor | Weight | number | boolean | string | null;
export type Operands = Readonly<Record<string, Operand>>;

/** How an op touches a tensor operand; the recorder's liveness analysis and the backends' barriers follow from it. */
export type Access = "read" | "write" | "update";

/** What every op declares once, whatever the backend. */
export interface OpDeclaration<Name extends string = string> {
  readonly name: Name;
  /** Every operand that may be a Tensor, and how it is touched. `update` reads and writes (states, residuals). */
  readonly access: Readonly<Record<string, Access>>;
}

/** One recorded call. */
export interface OpCall {
  readonly op: string;
  readonly operands: Operands;
}

/** What architectures record into. `kernels/ops/<op>/<op>.ts` exports a function for each op that checks shapes and records. */
export interface Recorder {
  /** B, sequences in this run. */
  readonly batch: number;
  /** T, tokens of each sequence in this run. */
  readonly length: number;
  /** The token ids of the run, (B, T) i32. */
  readonly ids: Tensor;
  /** State slot `index` of the layout: rows = B, cols = slotSize (of a slot that grows: of one token). */
  state(index: number): Tensor;
  /** A new temporary (rows, cols). */
  temporary(rows: number, cols: number): Tensor;
  /** A new output (rows, cols), readable after the run. */
  output(rows: number, cols: number): Tensor;
  record(declaration: OpDeclaration, operands: Operands): void;
}

/**
 * To how many bits a backend that rounds activations for products with weights in blocks may round those of few rows: "int16",
 * or "int8" as those of a long prompt, where that is faster. Either way a row's product has the same bits alone and among others
 * in such a plan. Backends that round to something else, or not at all, do what they always do.
 */
export type Precision = "int16" | "int8";

/** What was recorded for one shape (B, T); a value, free of any backend. */
export interface Plan {
  readonly batch: number;
  readonly length: number;
  readonly activations: Precision;
  /** Of the states that a run takes. */
  readonly layout: StateLayout;
  readonly calls: readonly OpCall[];
  /** Values of each `temporary` buffer, by index; as recorded, no two tensors share one but views of the same. */
  readonly temporaries: readonly number[];
  /** Values of each `output` buffer, by index. */
  readonly outputs: readonly number[];
}
