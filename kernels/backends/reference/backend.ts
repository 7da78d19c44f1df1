import { isOpName, ops } from "../../ops/index.ts";
import type { Backend, Executable, StateBuffers } from "../../spec/backend.ts";
import { dequantiseRow } from "../../spec/dequantise.ts";
import { packedRowBytes, Q8_0_BLOCK, type WeightDType } from "../../spec/dtype.ts";
import { KernelError } from "../../spec/errors.ts";
import type { Plan } from "../../spec/op.ts";
import type { ReferenceMemory } from "../../spec/reference.ts";
import {
  slotSize,
  type ReadRows,
  type StateLayout,
  type Tensor,
  type Weight,
  type WeightSpec,
} from "../../spec/tensor.ts";

/** Bytes of a weight that are read at once. */
const UPLOAD_BYTES = 8 * 1024 * 1024;

interface StoredWeight {
  readonly dtype: WeightDType;
  readonly packed: Uint8Array<ArrayBuffer>;
  readonly view: DataView;
  /** Where a row is unpacked to; (cols). */
  readonly row: Float32Array;
}

/** State slots as plain arrays; `arrays[slot]` is (B, slotSize). */
interface ReferenceState extends StateBuffers {
  readonly arrays: readonly Float32Array[];
}

/**
 * Runs the `.ref.ts` files one after the other: the judge of the other backends, never the fast one.
 * Weights stay packed; a row is unpacked each time it is used.
 */
export function createReferenceBackend(): Backend {
  const weights = new Map<number, StoredWeight>();
  const states = new Set<StateBuffers>();
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
      const { dtype, rows, cols } = spec;
      const packed = await readPacked(spec, read);
      const id = nextId++;
      weights.set(id, {
        dtype,
        packed,
        view: new DataView(packed.buffer),
        row: new Float32Array(cols),
      });
      return { id, dtype, rows, cols };
    },

    async compile(plan: Plan): Promise<Executable> {
      for (const { op } of plan.calls) {
        if (!isOpName(op))
          throw new KernelError("unsupported", `the reference backend has no op "${op}"`, { op });
      }
      const temporaries = plan.temporaries.map((size) => new Float32Array(size));
      workspaces.add(temporaries);
      return {
        plan,
        async run(ids, state, readback) {
          if (ids.length !== plan.batch * plan.length) {
            throw new KernelError(
              "shape",
              `${ids.length} token ids for a plan of ${plan.batch} × ${plan.length}`,
            );
          }
          const outputs = plan.outputs.map((size) => new Float32Array(size));
          const memory = bindMemory(
            { ids, temporaries, outputs, state: asReferenceState(state).arrays },
            stored,
          );
          for (const { op, operands } of plan.calls) {
            if (isOpName(op)) ops[op].reference(memory, operands);
          }
          return readback ? outputs : [];
        },
        release: () => void workspaces.delete(temporaries),
      };
    },

    createState(layout: StateLayout, batch: number): StateBuffers {
      const state: ReferenceState = {
        batch,
        layout,
        arrays: layout.map((slot) => new Float32Array(batch * slotSize(slot))),
        release: () => void states.delete(state),
      };
      states.add(state);
      return state;
    },

    async readState(state, sequence) {
      return asReferenceState(state).layout.map((slot, index) =>
        sequenceOf(state, index, sequence, slotSize(slot)).slice(),
      );
    },

    async writeState(state, sequence, values) {
      if (values.length !== state.layout.length) {
        throw new KernelError(
          "shape",
          `${values.length} arrays for a state of ${state.layout.length} slots`,
        );
      }
      state.layout.forEach((slot, index) => {
        const size = slotSize(slot);
        if (values[index].length !== size) {
          throw new KernelError(
            "shape",
            `slot "${slot.name}" has ${size} values, got ${values[index].length}`,
          );
        }
        sequenceOf(state, index, sequence, size).set(values[index]);
      });
    },

    memory: () => ({
      weights: sum(weights.values(), ({ packed }) => packed.byteLength),
      states: sum(states, (state) =>
        sum(asReferenceState(state).arrays, (array) => array.byteLength),
      ),
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
  if (dtype === "q8_0" && cols % Q8_0_BLOCK !== 0) {
    throw new KernelError(
      "shape",
      `weight "${name}": rows of ${cols} values do not divide into q8_0 blocks of ${Q8_0_BLOCK}`,
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
  readonly state: readonly Float32Array[];
}

function bindMemory(buffers: Buffers, stored: (weight: Weight) => StoredWeight): ReferenceMemory {
  return {
    ids: () => buffers.ids,
    rows(x) {
      const values = valuesOf(x, buffers);
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

function valuesOf({ buffer, offset, rows, cols, stride }: Tensor, buffers: Buffers): Float32Array {
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
  if (!("arrays" in state))
    throw new KernelError("backend", "this state belongs to another backend");
  return state as ReferenceState;
}

function sequenceOf(
  state: StateBuffers,
  slot: number,
  sequence: number,
  size: number,
): Float32Array {
  if (!(sequence >= 0 && sequence < state.batch)) {
    throw new KernelError("shape", `sequence ${sequence} of a state of ${state.batch}`);
  }
  return asReferenceState(state).arrays[slot].subarray(sequence * size, (sequence + 1) * size);
}

function sum<Item>(items: Iterable<Item>, bytes: (item: Item) => number): number {
  let total = 0;
  for (const item of items) total += bytes(item);
  return total;
}
