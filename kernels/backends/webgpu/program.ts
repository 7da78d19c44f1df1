import { roundsToF16 } from "../../ops/linear/linear-matrix.webgpu.ts";
import { costOf, isWeight } from "../../plan/cost.ts";
import { isTensor } from "../../plan/recorder.ts";
import { shareTemporaries } from "../../plan/share.ts";
import type { StateBuffers } from "../../spec/backend.ts";
import { KernelError } from "../../spec/errors.ts";
import type { OpCall, Plan } from "../../spec/op.ts";
import type { StateSlot, Tensor } from "../../spec/tensor.ts";
import { slotsOf, type Dispatch, type Read } from "../../wgsl/dispatch.ts";
import { layOutArena, type ArenaLayout, type StateCopy } from "./arena.ts";
import type { Allocation } from "./buffers.ts";
import type { Commands } from "./commands.ts";
import { describe } from "./describe.ts";
import type { GpuDevice } from "./device.ts";
import { fusePlan } from "./fuse.ts";
import type { ProfiledStep, RunClock } from "./profiler.ts";
import type { Stretch } from "./readback.ts";
import type { Resources } from "./resources.ts";
import type { GpuState } from "./states.ts";

/** Params of one shader that a program's dispatches may have compiled in: each is a pipeline of its own. */
const MOST_CONSTANT_PARAMS = 8;
/** WebGPU's minUniformBufferOffsetAlignment at its default. Bytes. */
const UNIFORM_ALIGNMENT = 256;

/** One dispatch, ready but for its buffers. */
interface Step extends ProfiledStep {
  readonly dispatch: Dispatch;
  /** Done before it. */
  readonly copies: readonly StateCopy[];
  readonly pipeline: GPUComputePipeline;
  readonly slots: readonly number[];
}

/** A bind group a step, made when it is first wanted, and what they stand for. */
interface BoundGroups {
  readonly arena: GPUBuffer;
  readonly state: GpuState;
  readonly slots: readonly GPUBuffer[];
  readonly groups: (GPUBindGroup | null)[];
}

/** A plan as dispatches, with the buffers that belong to it alone. */
export interface Program {
  readonly layout: ArenaLayout;
  readonly steps: readonly ProfiledStep[];
  /** Takes this memory for the next runs. */
  bind(arena: GPUBuffer, state: GpuState): void;
  /** Writes the next run's ids, (B, T), behind all that was submitted. */
  setIds(ids: Int32Array): void;
  /** Whether runs must be told where the sequences stand. */
  readonly readsPositions: boolean;
  /** Writes what slots that grow must know of the next run: their room and the sequences' positions. */
  setPositions(state: GpuState, positions: Int32Array): void;
  /** Appends one run over what is bound. */
  encode(commands: Commands, clock: RunClock | null): void;
  release(): void;
}

/**
 * Describes and compiles all dispatches of a plan, and those of `last` behind them.
 * @throws KernelError `unsupported`, `backend`, `out-of-memory`, `device-lost`
 */
export async function prepareProgram(
  plan: Plan,
  resources: Resources,
  last: (layout: ArenaLayout) => readonly Dispatch[] = () => [],
): Promise<Program> {
  const { gpu, allocator, pipelines } = resources;
  const shared = shareTemporaries(
    fusePlan(plan, {
      storageBuffers: gpu.device.limits.maxStorageBuffersPerShaderStage,
      subgroupMatrix: gpu.subgroupMatrix,
      subgroupSize: gpu.subgroupSize,
    }),
  );
  const layout = layOutArena(shared);
  const rounds = shared.calls.some((call) => isRoundedProduct(call, gpu));
  const described = [
    ...shared.calls.flatMap((call) => describeCall(call, shared, layout, rounds, resources)),
    ...last(layout).map((dispatch) => ({
      dispatch,
      copies: [],
      kernel: dispatch.entryPoint,
      bytes: 0,
      flop: 0,
    })),
  ];
  const constant = gpu.info.software ? new Set() : withFewParams(described);
  const steps: Step[] = await Promise.all(
    described.map(async (step) => ({
      ...step,
      pipeline: await pipelines.pipeline(step.dispatch, constant.has(step.dispatch)),
      slots: slotsOf(step.dispatch),
    })),
  );
  const held: Allocation[] = [];
  const allocate = async (
    label: string,
    bytes: number,
    usage: GPUBufferUsageFlags,
  ): Promise<GPUBuffer> => {
    const allocation = await allocator.allocateChecked(label, bytes, usage, "workspace");
    held.push(allocation);
    return allocation.buffer;
  };
  const { UNIFORM, STORAGE, COPY_DST } = GPUBufferUsage;
  const uniform = await allocate("params", steps.length * UNIFORM_ALIGNMENT, UNIFORM | COPY_DST);
  gpu.device.queue.writeBuffer(uniform, 0, paramWords(steps));
  const positions = await allocate("positions", (1 + plan.batch) * 4, STORAGE | COPY_DST);
  const readsPositions = steps.some(({ dispatch }) =>
    dispatch.reads.some(({ kind }) => kind === "positions"),
  );

  function resourceOf(read: Read): GPUBufferBinding {
    switch (read.kind) {
      case "positions":
        return { buffer: positions };
      case "vector":
        return {
          buffer: read.weight === null ? resources.unused : resources.weights.vector(read.weight),
        };
      case "values": {
        const part = resources.weights.matrix(read.weight).parts[read.part];
        return { buffer: part.allocation.buffer, size: part.valueBytes };
      }
      case "scales": {
        const { allocation, scaleOffset, scaleBytes } = resources.weights.matrix(read.weight).parts[
          read.part
        ];
        if (scaleBytes === 0) return { buffer: resources.unused };
        return { buffer: allocation.buffer, offset: scaleOffset, size: scaleBytes };
      }
    }
  }

  /** The bind groups of each state that the program has run over. */
  const groupsOf = new WeakMap<GpuState, BoundGroups>();
  let bound: BoundGroups | null = null;

  function groupOf(
    { dispatch, slots }: Step,
    index: number,
    { arena, state }: BoundGroups,
  ): GPUBindGroup {
    const reads = dispatch.reads.length;
    const buffers: GPUBufferBinding[] = [
      { buffer: uniform, offset: index * UNIFORM_ALIGNMENT, size: paramBytes(dispatch) },
      { buffer: arena },
      ...dispatch.reads.map(resourceOf),
      ...slots.map((slot) => state.place(slot)),
    ];
    return gpu.device.createBindGroup({
      label: dispatch.entryPoint,
      layout: pipelines.layout(reads, slots.length),
      entries: buffers.map((resource, binding) => ({ binding, resource })),
    });
  }

  function ready(): BoundGroups {
    if (bound === null) throw new KernelError("backend", "a program that was not bound");
    return bound;
  }

  return {
    layout,
    steps,
    readsPositions,
    bind(arena, state) {
      const slots = plan.layout.map((_, slot) => state.place(slot).buffer);
      const known = groupsOf.get(state);
      // A slot that grows moves to other memory.
      if (known?.arena === arena && known.slots.every((buffer, slot) => buffer === slots[slot])) {
        bound = known;
        return;
      }
      // What binds no state serves all of them: a new sequence's first run makes no more groups than it must.
      const before = bound?.arena === arena ? bound.groups : null;
      const groups = steps.map((step, index) =>
        step.slots.length === 0 ? (before?.[index] ?? null) : null,
      );
      bound = { arena, state, slots, groups };
      groupsOf.set(state, bound);
    },
    setIds(ids) {
      gpu.device.queue.writeBuffer(ready().arena, layout.ids * 4, new Int32Array(ids));
    },
    setPositions(state, counts) {
      if (!readsPositions) return;
      gpu.device.queue.writeBuffer(positions, 0, Int32Array.of(state.room(), ...counts));
    },
    encode(commands, clock) {
      const over = ready();
      for (let index = 0; index < steps.length; index++) {
        const step = steps[index];
        const { copies, pipeline, dispatch } = step;
        if (copies.length > 0) copyStates(commands.encoder(), copies, over);
        // Made here and not before the run, groups are made while the device computes.
        const group = (over.groups[index] ??= groupOf(step, index, over));
        commands.dispatch(pipeline, group, dispatch.workgroups, clock?.passOf(index));
      }
    },
    release() {
      for (const allocation of held) allocation.release();
    },
  };
}

function copyStates(
  encoder: GPUCommandEncoder,
  copies: readonly StateCopy[],
  { arena, state }: BoundGroups,
): void {
  for (const { slot, from, to, values } of copies) {
    const { buffer, offset } = state.place(slot);
    encoder.copyBufferToBuffer(buffer, offset + from * 4, arena, to * 4, values * 4);
  }
}

function describeCall(
  call: OpCall,
  plan: Plan,
  layout: ArenaLayout,
  rounds: boolean,
  { gpu, weights }: Resources,
): Omit<Step, "pipeline" | "slots">[] {
  layout.beginCall();
  const dispatches = describe(call, {
    subgroupSize: gpu.subgroupSize,
    f16: gpu.f16,
    subgroupMatrix: gpu.subgroupMatrix,
    roundsToF16: rounds,
    software: gpu.info.software,
    place: (tensor) => layout.place(tensor),
    target: (tensor) => layout.target(tensor),
    ids: layout.ids,
    slot: (tensor) => stateSlot(plan, tensor),
    scratch: (values) => layout.scratch(values),
    parts: (weight) => weights.matrix(weight).parts,
  });
  const shape = shapeOf(call);
  // Of an op of several parts, nobody knows which of them costs what, but the part itself.
  const cost = dispatches.length === 1 ? costOf(call) : { bytes: 0, flop: 0 };
  return dispatches.map((dispatch, index) => ({
    dispatch,
    copies: index === 0 ? layout.copies() : [],
    kernel: `${dispatch.entryPoint}${shape}`,
    ...(dispatch.cost ?? cost),
  }));
}

function isRoundedProduct({ op, operands: { weight } }: OpCall, gpu: GpuDevice): boolean {
  const isProduct = op === "linear" || op === "fused-linear";
  return isProduct && isWeight(weight) && roundsToF16(weight, gpu);
}

/** The matrix of a product, else the rows and columns of the result: what tells two calls of one kernel apart. */
function shapeOf({ operands }: OpCall): string {
  const { weight, y } = operands;
  if (typeof weight === "object" && weight !== null && "dtype" in weight)
    return ` ${weight.dtype} ${weight.rows}×${weight.cols}`;
  return isTensor(y) ? ` ${y.rows}×${y.cols}` : "";
}

/** The dispatches whose params may be compiled in, of shaders that few params are compiled into. */
function withFewParams(steps: readonly { readonly dispatch: Dispatch }[]): ReadonlySet<Dispatch> {
  const all = steps.map(({ dispatch }) => dispatch).filter((own) => own.constantParams === true);
  const byShader = Map.groupBy(all, ({ shader, entryPoint, constants, reads }) =>
    JSON.stringify([shader.name, shader.consts, entryPoint, constants, reads.length]),
  );
  const few = [...byShader.values()].filter(
    (own) => new Set(own.map(({ params }) => params.join())).size <= MOST_CONSTANT_PARAMS,
  );
  return new Set(few.flat());
}

function stateSlot(plan: Plan, { buffer: { kind, index } }: Tensor): StateSlot {
  const slot = kind === "state" ? plan.layout.at(index) : undefined;
  if (slot === undefined) throw new KernelError("backend", `${kind} ${index} is no state slot`);
  return slot;
}

/** Only behind a run that succeeded: a failed one leaves the sequences where they were counted. */
export function advancePositions({ positions }: StateBuffers, length: number): void {
  positions.forEach((position, b) => (positions[b] = position + length));
}

/** The outputs of a run in the arena. */
export function outputStretches(plan: Plan, program: Program, arena: GPUBuffer): Stretch[] {
  return plan.outputs.map((values, index) => ({
    buffer: arena,
    offset: program.layout.output(index) * 4,
    bytes: values * 4,
  }));
}

/** A uniform binding's size is a multiple of 16 bytes. */
function paramBytes({ params }: Dispatch): number {
  return Math.ceil(params.length / 4) * 16;
}

function paramWords(steps: readonly Step[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array((steps.length * UNIFORM_ALIGNMENT) / 4);
  steps.forEach(({ dispatch }, index) =>
    words.set(dispatch.params, (index * UNIFORM_ALIGNMENT) / 4),
  );
  return words;
}
