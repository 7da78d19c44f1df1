import { shareTemporaries } from "../../plan/share.ts";
import { isOpName, ops } from "../../ops/index.ts";
import type { Backend, Executable, StateBuffers } from "../../spec/backend.ts";
import { dequantiseRow } from "../../spec/dequantise.ts";
import { isWholeBlocks, packedRowBytes, type WeightDType } from "../../spec/dtype.ts";
import { KernelError } from "../../spec/errors.ts";
import type { Plan } from "../../spec/op.ts";
import { checkCopy, checkRun } from "../../spec/state-values.ts";
import type { ReferenceMemory } from "../../spec/reference.ts";
import type { ReadRows, StateLayout, Tensor, Weight, WeightSpec } from "../../spec/tensor.ts";
import { ReferenceState } from "./state.ts";

/** Bytes of a weight that are read at once. */
const UPLOAD_BYTES = 8 * 1024 * 1024;

interface StoredWeight {
  readonly use: WeightSpec["use"];
  readonly dtype: WeightDType;
  readonly packed: Uint8Array<ArrayBuffer>;
  readonly view: DataView;
  /** Where a row is unpacked to; (cols). */
  readonly row: Float32Array;
}

/**
 * Runs the `.ref.ts` files one after the other: the judge of the other backends, never the fast one.
 * Weights stay packed; a row is unpacked each time it is used.
 */
export function createReferenceBackend(): Backend {
  const weights = new Map<number, StoredWeight>();
  const states = new Set<ReferenceState>();
  const workspaces = new Set<readonly Float32Array[]>();
  let nextId = 0;

  function stored(weight: Weight): StoredWeight {
    const found = weights.get(weight.id);
    if (found === undefined)
      throw new KernelError("backend", `weight ${weight.id} is not on this backend`);
    return found;
  }

  return {
    name: "reference",
    device: {
      backend: "reference",
      name: "plain TypeScript",
      software: true,
      features: [],
      limits: {},
    },

    async uploadWeight(spec: WeightSpec, read: ReadRows): Promise<Weight> {
      checkSpec(spec);
      const { use, dtype, rows, cols } = spec;
      const packed = await readPacked(spec, read);
      const id = nextId++;
      weights.set(id, {
        use,
        dtype,
        packed,
        view: new DataView(packed.buffer),
        row: new Float32Array(cols),
      });
      return { id, dtype, rows, cols };
    },

    async readVector(weight: Weight): Promise<Float32Array> {
      const { use, packed } = stored(weight);
      if (use === "matrix") throw new KernelError("dtype", `weight ${weight.id} is no vector`);
      return new Float32Array(packed.slice().buffer);
    },

    async compile(recorded: Plan): Promise<Executable> {
      const plan = shareTemporaries(recorded);
      for (const { op } of plan.calls) {
        if (!isOpName(op))
          throw new KernelError("unsupported", `the reference backend has no op "${op}"`, { op });
      }
      const temporaries = plan.temporaries.map((size) => new Float32Array(size));
      workspaces.add(temporaries);
      return {
        plan,
        async run(ids, state, readback) {
          const held = asReferenceState(state);
          checkRun(plan, ids, held);
          const outputs = plan.outputs.map((size) => new Float32Array(size));
          const memory = bindMemory({ ids, temporaries, outputs }, held, plan.length, stored);
          for (const { op, operands } of plan.calls) {
            if (isOpName(op)) ops[op].reference(memory, operands);
          }
          held.positions.forEach((position, b) => (held.positions[b] = position + plan.length));
          return readback ? outputs : [];
        },
        release: () => void workspaces.delete(temporaries),
      };
    },

    createState(layout: StateLayout, batch: number): StateBuffers {
      const state = new ReferenceState(layout, batch, (released) => void states.delete(released));
      states.add(state);
      return state;
    },

    readState: async (state, sequence, from = 0) => asReferenceState(state).read(sequence, from),

    writeState: async (state, sequence, values, position) =>
      asReferenceState(state).write(sequence, values, position),

    async copyState(from, fromSequence, to, toSequence) {
      checkCopy(from, to);
      const values = asReferenceState(from).read(fromSequence, 0);
      asReferenceState(to).write(toSequence, values, from.positions[fromSequence]);
    },

    memory: () => ({
      weights: sum(weights.values(), ({ packed }) => packed.byteLength),
      states: sum(states, ({ bytes }) => bytes),
      workspace: sum(workspaces, (arrays) => sum(arrays, (array) => array.byteLength)),
    }),

    async release() {
      weights.clear();
      states.clear();
      workspaces.clear();
    },
  };
}

function checkSpec({ name, dtype, rows, cols, use }: WeightSpec): void {
  if (use === "vector" && dtype !== "f32") {
    throw new KernelError(
      "dtype",
      `weight "${name}" is read by elementwise kernels and must be f32, got ${dtype}`,
    );
  }
  if (!isWholeBlocks(dtype, cols)) {
    throw new KernelError(
      "shape",
      `weight "${name}": rows of ${cols} values are not whole ${dtype} blocks`,
    );
  }
  if (rows < 1 || cols < 1)
    throw new KernelError("shape", `weight "${name}" is (${rows}, ${cols})`);
}

async function readPacked(
  { name, dtype, rows, cols }: WeightSpec,
  read: ReadRows,
): Promise<Uint8Array<ArrayBuffer>> {
  const rowBytes = packedRowBytes(dtype, cols);
  const packed = new Uint8Array(rows * rowBytes);
  const rowsAtOnce = Math.max(1, Math.floor(UPLOAD_BYTES / rowBytes));
  for (let first = 0; first < rows; first += rowsAtOnce) {
    const count = Math.min(rowsAtOnce, rows - first);
    const bytes = await read(first, count);
    if (bytes.byteLength !== count * rowBytes) {
      throw new KernelError(
        "shape",
        `weight "${name}": ${count} rows are ${count * rowBytes} bytes, got ${bytes.byteLength}`,
      );
    }
    packed.set(bytes, first * rowBytes);
  }
  return packed;
}

interface Buffers {
  readonly ids: Int32Array;
  readonly temporaries: readonly Float32Array[];
  readonly outputs: readonly Float32Array[];
}

function bindMemory(
  buffers: Buffers,
  state: ReferenceState,
  length: number,
  stored: (weight: Weight) => StoredWeight,
): ReferenceMemory {
  const positions = state.positions.slice();
  return {
    positions,
    ids: () => buffers.ids,
    grown: ({ buffer }, sequence) =>
      state.grown(buffer.index, sequence, (positions.at(sequence) ?? 0) + length),
    rows(x) {
      const values = valuesOf(x, { ...buffers, state: state.arrays });
      return Array.from({ length: x.rows }, (_, row) => {
        const start = x.offset + row * x.stride;
        return values.subarray(start, start + x.cols);
      });
    },
    weightRow(weight, row) {
      const { dtype, view, row: out } = stored(weight);
      dequantiseRow(dtype, view, row, out);
      return out;
    },
  };
}

function valuesOf(
  { buffer, offset, rows, cols, stride }: Tensor,
  buffers: Buffers & { readonly state: readonly Float32Array[] },
): Float32Array {
  const { kind, index } = buffer;
  if (kind === "input") throw new KernelError("dtype", "token ids are not f32 values");
  const values = { temporary: buffers.temporaries, output: buffers.outputs, state: buffers.state }[
    kind
  ].at(index);
  const end = offset + (rows - 1) * stride + cols;
  if (values === undefined || end > values.length) {
    throw new KernelError(
      "shape",
      `a tensor ends at value ${end} of ${kind} ${index}, which has ${values?.length ?? 0}`,
    );
  }
  return values;
}

function asReferenceState(state: StateBuffers): ReferenceState {
  if (!(state instanceof ReferenceState))
    throw new KernelError("backend", "this state belongs to another backend");
  return state;
}

function sum<Item>(items: Iterable<Item>, bytes: (item: Item) => number): number {
  let total = 0;
  for (const item of items) total += bytes(item);
  return total;
}
