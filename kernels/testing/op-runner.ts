import { recordPlan } from "../plan/recorder.ts";
import type { Backend } from "../spec/backend.ts";
import { packedRowBytes, type WeightDType } from "../spec/dtype.ts";
import type { Precision, Recorder } from "../spec/op.ts";
import type { StateLayout, Tensor, Weight } from "../spec/tensor.ts";

/** An input: `values` is (B * T, cols). */
export interface InputArray {
  readonly cols: number;
  readonly values: Float32Array;
  /** Columns of junk before and after each row: the op then gets a strided view. */
  readonly margin?: readonly [before: number, after: number];
}

/** A weight: f32 values (rows, cols), or packed bytes of another dtype. */
export interface WeightArray {
  readonly rows: number;
  readonly cols: number;
  readonly values: Float32Array | Uint8Array;
  readonly dtype?: WeightDType;
  readonly use?: "matrix" | "vector";
}

/** A slot that grows, filled up to each sequence's position. */
export interface GrowingState {
  /** Of one token. */
  readonly shape: readonly number[];
  readonly dtype?: "f32" | "f16";
  /** (position, slotSize) of each sequence. */
  readonly sequences: readonly Float32Array[];
}

/** One op with everything it reads. */
export interface OpTrial<Input extends string, State extends string, WeightName extends string> {
  readonly batch: number;
  /** T */
  readonly length: number;
  /** "int16" if left out. */
  readonly activations?: Precision;
  /** (B, T); zeros if left out. */
  readonly ids?: Int32Array;
  /** (B): tokens that each sequence was fed before, or one number for all; 0 if left out. */
  readonly position?: number | readonly number[];
  readonly inputs: Readonly<Record<Input, InputArray>>;
  /** Before the run, (B, size) each, or one that grows. */
  readonly states: Readonly<Record<State, Float32Array | GrowingState>>;
  readonly weights: Readonly<Record<WeightName, WeightArray>>;
  /**
   * Whether `record` calls several ops whose temporaries are to stay such, as in a model: it then gives an output of its own.
   * Left out, all temporaries are outputs, and nothing can be fused.
   */
  readonly chain?: boolean;
  /** Calls the op's binding once or more; the last tensor that it made is the output. */
  record(
    k: Recorder,
    given: {
      readonly inputs: Readonly<Record<Input, Tensor>>;
      readonly states: Readonly<Record<State, Tensor>>;
      readonly weights: Readonly<Record<WeightName, Weight>>;
    },
  ): Tensor;
}

export interface OpResult<State extends string> {
  /** (B * T, cols) */
  readonly y: Float32Array;
  /** After the run, (B, size) each; of one that grows each sequence's (position + T, slotSize), one after the other. */
  readonly states: Readonly<Record<State, Float32Array>>;
}

/** What stands in the margins: an op that reads it cannot go unnoticed. */
const JUNK = 1e30;

/**
 * Runs one op on a backend. Inputs go in as further state slots, and what the op's binding takes for a temporary is
 * made an output, so that nothing but the op itself is run.
 */
export async function runOp<Input extends string, State extends string, WeightName extends string>(
  backend: Backend,
  trial: OpTrial<Input, State, WeightName>,
): Promise<OpResult<State>> {
  const { batch, length, position = 0, activations = "int16" } = trial;
  const inputs = keys(trial.inputs).map((name) => ({ name, ...withMargin(trial.inputs[name]) }));
  const states = keys(trial.states).map((name) => ({ name, values: trial.states[name] }));
  const slots = [...states, ...inputs];
  const layout: StateLayout = slots.map(({ name, values }) =>
    "sequences" in values
      ? { name, shape: values.shape, grows: true, dtype: values.dtype ?? "f32" }
      : { name, shape: [values.length / batch] },
  );

  const weights = await mapValues(trial.weights, (weight, name) => upload(backend, name, weight));
  let y: Tensor | undefined;
  const plan = recordPlan({ batch, length, activations }, layout, (k) => {
    const given = {
      states: fromEntries(states.map(({ name }, index) => [name, k.state(index)])),
      inputs: fromEntries(
        inputs.map(({ name, stride, before, cols }, index): [Input, Tensor] => {
          const { buffer } = k.state(states.length + index);
          return [name, { buffer, offset: before, rows: batch * length, cols, stride }];
        }),
      ),
      weights,
    };
    const temporary = trial.chain === true ? k.temporary : k.output;
    y = trial.record({ ...k, temporary }, given);
  });
  if (y === undefined) throw new Error("the trial recorded no output");

  const state = backend.createState(layout, batch);
  const executable = await backend.compile(plan);
  try {
    for (let b = 0; b < batch; b++) {
      await backend.writeState(
        state,
        b,
        slots.map(({ values }) =>
          "sequences" in values ? values.sequences[b] : share(values, batch, b),
        ),
        typeof position === "number" ? position : position[b],
      );
    }
    const outputs = await executable.run(trial.ids ?? new Int32Array(batch * length), state, true);
    const after = await Promise.all(
      Array.from({ length: batch }, (_, b) => backend.readState(state, b)),
    );
    return {
      y: outputs[y.buffer.index],
      states: fromEntries(
        states.map(({ name }, slot) => [name, concat(after.map((arrays) => arrays[slot]))]),
      ),
    };
  } finally {
    executable.release();
    state.release();
  }
}

async function upload(backend: Backend, name: string, weight: WeightArray): Promise<Weight> {
  const { rows, cols, values, dtype = "f32", use = dtype === "f32" ? "vector" : "matrix" } = weight;
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const rowBytes = packedRowBytes(dtype, cols);
  return backend.uploadWeight({ name, dtype, rows, cols, use }, async (first, count) =>
    bytes.slice(first * rowBytes, (first + count) * rowBytes),
  );
}

function withMargin({ cols, values, margin = [0, 0] }: InputArray): {
  values: Float32Array;
  cols: number;
  stride: number;
  before: number;
} {
  const [before, after] = margin;
  const stride = before + cols + after;
  const rows = values.length / cols;
  const wide = new Float32Array(rows * stride).fill(JUNK);
  for (let row = 0; row < rows; row++)
    wide.set(values.subarray(row * cols, (row + 1) * cols), row * stride + before);
  return { values: wide, cols, stride, before };
}

function share(values: Float32Array, batch: number, sequence: number): Float32Array {
  const size = values.length / batch;
  return values.slice(sequence * size, (sequence + 1) * size);
}

function concat(arrays: readonly Float32Array[]): Float32Array {
  return Float32Array.from(arrays.flatMap((array) => [...array]));
}

function keys<Key extends string>(record: Readonly<Record<Key, unknown>>): Key[] {
  return Object.keys(record) as Key[];
}

function fromEntries<Key extends string, Value>(
  entries: readonly (readonly [Key, Value])[],
): Record<Key, Value> {
  return Object.fromEntries(entries) as Record<Key, Value>;
}

async function mapValues<Key extends string, In, Out>(
  record: Readonly<Record<Key, In>>,
  map: (value: In, key: Key) => Promise<Out>,
): Promise<Record<Key, Out>> {
  const entries: [Key, Out][] = [];
  for (const key of keys(record)) entries.push([key, await map(record[key], key)]);
  return fromEntries(entries);
}
