import type { Dispatch } from "../../wgsl/dispatch.ts";
import type { Allocation, Allocator } from "./buffers.ts";
import type { GpuDevice } from "./device.ts";
import type { Pipelines } from "./pipelines.ts";
import source from "./shadow.wgsl?raw";
import type { GpuState } from "./states.ts";

/** One of the two copies: of a state before what the device works on, and before what is enqueued behind that. */
export type ShadowSlot = 0 | 1;

/**
 * Copies of one state's slots that do not grow, to go back to. Those that grow need none: what was added behind a
 * sequence's position is written again before it is read.
 */
export interface Shadow {
  /** Makes room for two copies of the state. @throws KernelError `out-of-memory`, `device-lost` */
  fit(state: GpuState): Promise<void>;
  save(encoder: GPUCommandEncoder, state: GpuState, slot: ShadowSlot): void;
  restore(encoder: GPUCommandEncoder, state: GpuState, slot: ShadowSlot): void;
}

/** WebGPU's minStorageBufferOffsetAlignment at its default. Bytes. */
const ALIGNMENT = 256;
/** From so many bytes on a kernel copies; below, its launch takes longer than the copy. */
const KERNEL_FROM_BYTES = 2 ** 17;
const MOST_WORKGROUPS = 4096;

const dispatch: Dispatch = {
  shader: { name: "shadow", parts: [source] },
  entryPoint: "copy_slot",
  constants: {},
  params: [],
  reads: [{ kind: "vector", weight: null }],
  state: null,
  workgroups: [1, 1, 1],
};

/** The copies between a state and one shadow. */
interface Copies {
  readonly small: readonly {
    readonly own: GPUBuffer;
    readonly at: number;
    readonly bytes: number;
  }[];
  readonly large: readonly {
    readonly save: GPUBindGroup;
    readonly restore: GPUBindGroup;
    readonly workgroups: number;
  }[];
}

/** A backend's one shadow, in memory that grows to the largest state. */
export function createShadow(
  { device }: GpuDevice,
  allocator: Allocator,
  pipelines: Pipelines,
): Shadow {
  const held: (Allocation | null)[] = [null, null];
  let pipeline: GPUComputePipeline | null = null;
  let params: Allocation | null = null;
  const known = [new WeakMap<GpuState, Copies>(), new WeakMap<GpuState, Copies>()];

  function bytesOf(state: GpuState): number {
    return state.fixed.reduce((sum, { bytes }) => sum + aligned(bytes), 0);
  }

  function ready<T>(made: T | null): T {
    if (made === null) throw new Error("a shadow without memory: fit comes first");
    return made;
  }

  function copiesOf(state: GpuState, slot: ShadowSlot): Copies {
    const found = known[slot].get(state);
    if (found !== undefined) return found;
    const { buffer: shadow } = ready(held[slot]);
    const group = (target: GPUBufferBinding, from: GPUBufferBinding): GPUBindGroup =>
      device.createBindGroup({
        label: "shadow",
        layout: pipelines.layout(1, 0),
        entries: [{ buffer: ready(params).buffer }, target, from].map((resource, binding) => ({
          binding,
          resource,
        })),
      });
    const small: Copies["small"][number][] = [];
    const large: Copies["large"][number][] = [];
    let at = 0;
    for (const { buffer: own, bytes } of state.fixed) {
      if (bytes < KERNEL_FROM_BYTES || bytes % 16 !== 0) small.push({ own, at, bytes });
      else {
        const [inState, inShadow] = [{ buffer: own }, { buffer: shadow, offset: at, size: bytes }];
        large.push({
          save: group(inShadow, inState),
          restore: group(inState, inShadow),
          workgroups: Math.min(MOST_WORKGROUPS, Math.ceil(bytes / 16 / 256)),
        });
      }
      at += aligned(bytes);
    }
    const copies = { small, large };
    known[slot].set(state, copies);
    return copies;
  }

  function copyLarge(encoder: GPUCommandEncoder, { large }: Copies, way: "save" | "restore"): void {
    if (large.length === 0) return;
    const pass = encoder.beginComputePass({ label: `${way} states` });
    pass.setPipeline(ready(pipeline));
    for (const copy of large) {
      pass.setBindGroup(0, copy[way]);
      pass.dispatchWorkgroups(copy.workgroups);
    }
    pass.end();
  }

  return {
    async fit(state) {
      pipeline ??= await pipelines.pipeline(dispatch);
      const { UNIFORM, STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
      params ??= await allocator.allocateChecked("params", 16, UNIFORM, "workspace");
      const bytes = bytesOf(state);
      for (const slot of held.keys()) {
        const current = held[slot];
        if (current !== null && current.bytes >= bytes) continue;
        current?.release();
        held[slot] = null;
        known[slot] = new WeakMap();
        const usage = STORAGE | COPY_SRC | COPY_DST;
        held[slot] = await allocator.allocateChecked("shadow state", bytes, usage, "workspace");
      }
    },
    save(encoder, state, slot) {
      const copies = copiesOf(state, slot);
      const { buffer: shadow } = ready(held[slot]);
      for (const { own, at, bytes } of copies.small)
        encoder.copyBufferToBuffer(own, 0, shadow, at, bytes);
      copyLarge(encoder, copies, "save");
    },
    restore(encoder, state, slot) {
      const copies = copiesOf(state, slot);
      const { buffer: shadow } = ready(held[slot]);
      for (const { own, at, bytes } of copies.small)
        encoder.copyBufferToBuffer(shadow, at, own, 0, bytes);
      copyLarge(encoder, copies, "restore");
    },
  };
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
