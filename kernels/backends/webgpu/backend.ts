import type { Backend } from "../../spec/backend.ts";
import { createArena } from "./arena.ts";
import { measureCopyBandwidth } from "./bandwidth.ts";
import { createAllocator } from "./buffers.ts";
import { requestGpuDevice } from "./device.ts";
import { compilePlan } from "./executable.ts";
import { createPipelines } from "./pipelines.ts";
import { createProfiler } from "./profiler.ts";
import { createReadback } from "./readback.ts";
import type { Resources } from "./resources.ts";
import { createShadow } from "./shadow.ts";
import { createStates } from "./states.ts";
import { createTurns } from "./turns.ts";
import { createWeightStore } from "./weights.ts";

/** Where a WebGPU backend comes from. */
export interface WebGpuOptions {
  /** `navigator.gpu`, or Dawn's under Node. The constants (`GPUBufferUsage` …) must be globals. */
  readonly gpu: GPU;
  /** Whether a CPU that plays a GPU (SwiftShader, llvmpipe) will do. */
  readonly allowSoftware: boolean;
}

/**
 * A backend on the fastest adapter.
 * @returns null where there is no adapter, or only one that `allowSoftware` refuses
 */
export async function createWebGpuBackend({
  gpu,
  allowSoftware,
}: WebGpuOptions): Promise<Backend | null> {
  const device = await requestGpuDevice(gpu, allowSoftware);
  if (device === null) return null;
  const allocator = createAllocator(device);
  const pipelines = createPipelines(device);
  const readback = createReadback(device, allocator);
  const turns = createTurns();
  const unused = allocator.allocate("unused", 16, GPUBufferUsage.STORAGE, "workspace");
  const resources: Resources = {
    gpu: device,
    allocator,
    inTurn: turns,
    pipelines,
    profiler: createProfiler(device),
    readback,
    arena: createArena(device, allocator),
    shadow: createShadow(device, allocator, pipelines),
    states: createStates(device, allocator, readback, turns),
    weights: createWeightStore(device, allocator),
    unused: unused.buffer,
  };
  const { inTurn, profiler, states, weights } = resources;
  return {
    name: "webgpu",
    device: device.info,
    uploadWeight: (spec, read) => weights.upload(spec, read),
    readVector: (weight) =>
      inTurn(async () => {
        const buffer = weights.vector(weight);
        const encoder = device.device.createCommandEncoder({ label: "read a vector" });
        const bytes = weight.rows * weight.cols * 4;
        const [values] = await readback.submitAndRead(encoder, [{ buffer, offset: 0, bytes }]);
        return values;
      }),
    compile: (plan) => compilePlan(plan, resources),
    createState: (layout, batch) => states.create(layout, batch),
    readState: (state, sequence, from = 0) => inTurn(() => states.read(state, sequence, from)),
    writeState: (state, sequence, values, position) =>
      inTurn(() => states.write(state, sequence, values, position)),
    copyState: (from, fromSequence, to, toSequence) =>
      inTurn(() => states.copy(from, fromSequence, to, toSequence)),
    profile: (on) => profiler.profile(on),
    copyBandwidth: () => inTurn(() => measureCopyBandwidth(resources)),
    memory: () => allocator.held(),
    async release() {
      allocator.releaseAll();
      device.destroy();
      await device.device.lost;
    },
  };
}
