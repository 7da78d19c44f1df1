import type { Executable, StateBuffers } from "../../spec/backend.ts";
import { KernelError } from "../../spec/errors.ts";
import type { Plan } from "../../spec/op.ts";
import { checkRun } from "../../spec/state-values.ts";
import type { StateSlot, Tensor } from "../../spec/tensor.ts";
import { slotsOf, type Dispatch, type Read } from "../../wgsl/dispatch.ts";
import { layOutArena, type Arena, type StateCopy } from "./arena.ts";
import type { Allocator } from "./buffers.ts";
import { describe } from "./describe.ts";
import type { GpuDevice } from "./device.ts";
import type { Pipelines } from "./pipelines.ts";
import type { Readback } from "./readback.ts";
import type { GpuState, States } from "./states.ts";
import type { InTurn } from "./turns.ts";
import type { WeightStore } from "./weights.ts";

/** WebGPU's minUniformBufferOffsetAlignment at its default. Bytes. */
const UNIFORM_ALIGNMENT = 256;

/** What executables share on a backend. */
export interface Resources {
  readonly gpu: GpuDevice;
  readonly allocator: Allocator;
  readonly arena: Arena;
  readonly inTurn: InTurn;
  readonly pipelines: Pipelines;
  readonly readback: Readback;
  readonly states: States;
  readonly weights: WeightStore;
  /** Bound where an operand is off. */
  readonly unused: GPUBuffer;
}

/** One dispatch, ready but for its buffers. */
interface Step {
  readonly dispatch: Dispatch;
  /** Done before it. */
  readonly copies: readonly StateCopy[];
  readonly pipeline: GPUComputePipeline;
}

/**
 * Turns a plan into pipelines, parameters and, at the first run, bind groups. A run then records one compute pass
 * and allocates nothing.
 * @throws KernelError `unsupported`, `backend`, `out-of-memory`, `device-lost`
 */
export async function compilePlan(plan: Plan, resources: Resources): Promise<Executable> {
  const { gpu, allocator, arena, inTurn, pipelines, readback, states } = resources;
  gpu.check();
  const layout = layOutArena(plan);
  const described = plan.calls.flatMap((call) => {
    layout.beginCall();
    const dispatches = describe(call, {
      subgroupSize: gpu.subgroupSize,
      f16: gpu.f16,
      subgroupMatrix: gpu.subgroupMatrix,
      software: gpu.info.software,
      place: (tensor) => layout.place(tensor),
      target: (tensor) => layout.target(tensor),
      slot: (tensor) => stateSlot(plan, tensor),
      scratch: (values) => layout.scratch(values),
      parts: (weight) => resources.weights.matrix(weight).parts,
    });
    return dispatches.map((dispatch, index) => ({
      dispatch,
      copies: index === 0 ? layout.copies() : [],
    }));
  });
  const steps: Step[] = await Promise.all(
    described.map(async (step) => ({ ...step, pipeline: await pipelines.pipeline(step.dispatch) })),
  );
  // Fails now, not in the first run, if the device cannot hold the plan.
  await inTurn(() => arena.atLeast(layout.size()));

  const uniform = await allocator.allocateChecked(
    "params",
    steps.length * UNIFORM_ALIGNMENT,
    GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    "workspace",
  );
  gpu.device.queue.writeBuffer(uniform.buffer, 0, paramWords(steps));
  const ids = await allocator.allocateChecked(
    "ids",
    plan.batch * plan.length * 4,
    GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST,
    "workspace",
  );

  const positions = await allocator.allocateChecked(
    "positions",
    (1 + plan.batch) * 4,
    GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST,
    "workspace",
  );

  function resourceOf(read: Read): GPUBufferBinding {
    switch (read.kind) {
      case "ids":
        return { buffer: ids.buffer };
      case "positions":
        return { buffer: positions.buffer };
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

  function bindOperands(arenaBuffer: GPUBuffer): GPUBindGroup[] {
    return steps.map(({ dispatch }, index) => {
      const buffers: GPUBufferBinding[] = [
        { buffer: uniform.buffer, offset: index * UNIFORM_ALIGNMENT, size: paramBytes(dispatch) },
        { buffer: arenaBuffer },
        ...dispatch.reads.map(resourceOf),
      ];
      return gpu.device.createBindGroup({
        label: dispatch.entryPoint,
        layout: pipelines.operandLayout(dispatch.reads.length),
        entries: buffers.map((resource, binding) => ({ binding, resource })),
      });
    });
  }

  /** One compute pass, but for copies between dispatches, which end it. */
  function encode(encoder: GPUCommandEncoder, state: GpuState, arenaBuffer: GPUBuffer): void {
    let pass: GPUComputePassEncoder | null = null;
    for (const [index, { dispatch, copies, pipeline }] of steps.entries()) {
      if (copies.length > 0) {
        pass?.end();
        pass = null;
        for (const { slot, from, to, values } of copies) {
          encoder.copyBufferToBuffer(state.buffer(slot), from * 4, arenaBuffer, to * 4, values * 4);
        }
      }
      pass ??= encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, groups[index]);
      const slots = slotsOf(dispatch);
      if (slots.length > 0) pass.setBindGroup(1, state.bindGroup(slots));
      pass.dispatchWorkgroups(...dispatch.workgroups);
    }
    pass?.end();
  }

  let boundArena: GPUBuffer | null = null;
  let groups: readonly GPUBindGroup[] = [];
  let released = false;

  async function run(
    idsOfRun: Int32Array,
    state: StateBuffers,
    wantOutputs: boolean,
  ): Promise<Float32Array[]> {
    if (released) throw new KernelError("backend", "this executable was released");
    gpu.check();
    checkRun(plan, idsOfRun, state);
    const gpuState = await states.use(state, plan.length);
    const arenaBuffer = await arena.atLeast(layout.size());
    if (boundArena !== arenaBuffer) {
      groups = bindOperands(arenaBuffer);
      boundArena = arenaBuffer;
    }
    gpu.device.queue.writeBuffer(ids.buffer, 0, new Int32Array(idsOfRun));
    const counts = Int32Array.of(gpuState.room(), ...state.positions);
    gpu.device.queue.writeBuffer(positions.buffer, 0, counts);
    const encoder = gpu.device.createCommandEncoder({ label: "run" });
    encode(encoder, gpuState, arenaBuffer);
    if (!wantOutputs || plan.outputs.length === 0) {
      gpu.device.queue.submit([encoder.finish()]);
      await gpu.settle(gpu.device.queue.onSubmittedWorkDone());
      advance(state, plan.length);
      return [];
    }
    const outputs = await readback.submitAndRead(
      encoder,
      plan.outputs.map((values, index) => ({
        buffer: arenaBuffer,
        offset: layout.output(index) * 4,
        bytes: values * 4,
      })),
    );
    advance(state, plan.length);
    return outputs;
  }

  return {
    plan,
    run: (idsOfRun, state, wantOutputs) => inTurn(() => run(idsOfRun, state, wantOutputs)),
    release() {
      released = true;
      uniform.release();
      ids.release();
      positions.release();
    },
  };
}

function stateSlot(plan: Plan, { buffer: { kind, index } }: Tensor): StateSlot {
  const slot = kind === "state" ? plan.layout.at(index) : undefined;
  if (slot === undefined) throw new KernelError("backend", `${kind} ${index} is no state slot`);
  return slot;
}

/** Only behind a run that succeeded: a failed one leaves the sequences where they were counted. */
function advance({ positions }: StateBuffers, length: number): void {
  positions.forEach((position, b) => (positions[b] = position + length));
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
