import type { Dispatch } from "../../wgsl/dispatch.ts";
import source from "./bandwidth.wgsl?raw";
import type { Resources } from "./resources.ts";

/** Read and written once a turn; far more than caches hold. A CPU that plays a GPU gets less to do. Bytes. */
const BYTES = { hardware: 512 * 2 ** 20, software: 16 * 2 ** 20 };
/** Copies timed together, so that the way to the device and back does not count; the best of some tries is taken. */
const COPIES = { hardware: 40, software: 2 };
const TRIES = 3;

/** Bytes a second, read and written ones together. @throws KernelError `out-of-memory`, `device-lost` */
export async function measureCopyBandwidth(resources: Resources): Promise<number> {
  const { gpu, allocator, pipelines } = resources;
  const kind = gpu.info.software ? "software" : "hardware";
  const bytes = Math.min(BYTES[kind], gpu.maxBindingBytes);
  const dispatch: Dispatch = {
    shader: { name: "bandwidth", parts: [source] },
    entryPoint: "copy",
    constants: {},
    params: [bytes / 32],
    reads: [],
    state: null,
    workgroups: [4096, 1, 1],
  };
  const pipeline = await pipelines.pipeline(dispatch);
  const { UNIFORM, STORAGE, COPY_DST } = GPUBufferUsage;
  const params = await allocator.allocateChecked("params", 16, UNIFORM | COPY_DST, "workspace");
  const memory = await allocator.allocateChecked("copied memory", bytes, STORAGE, "workspace");
  try {
    gpu.device.queue.writeBuffer(params.buffer, 0, Uint32Array.from(dispatch.params));
    const group = gpu.device.createBindGroup({
      layout: pipelines.layout(0, 0),
      entries: [params, memory].map(({ buffer }, binding) => ({ binding, resource: { buffer } })),
    });
    let best = Infinity;
    for (let attempt = 0; attempt <= TRIES; attempt++) {
      const start = performance.now();
      const encoder = gpu.device.createCommandEncoder({ label: "bandwidth" });
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      for (let copy = 0; copy < COPIES[kind]; copy++)
        pass.dispatchWorkgroups(...dispatch.workgroups);
      pass.end();
      gpu.device.queue.submit([encoder.finish()]);
      await gpu.settle(gpu.device.queue.onSubmittedWorkDone());
      // The first attempt wakes the device.
      if (attempt > 0) best = Math.min(best, performance.now() - start);
    }
    return (COPIES[kind] * bytes * 1000) / best;
  } finally {
    params.release();
    memory.release();
  }
}
