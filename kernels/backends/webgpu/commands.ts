/**
 * Dispatches of the first submission, and of one at most; each may have twice as many as the one before. The device begins with the
 * first ones while the host, which has calls of some 10 µs a dispatch to make, encodes the next: it does not stand idle
 * until the last of a prompt's hundreds is encoded. A submission costs the host as much as one or two dispatches.
 */
const AT_ONCE = { first: 32, most: 128 };

/** What is about to be enqueued; it goes to the device some at a time, in its order. */
export interface Commands {
  /** One dispatch. @param timed a pass for it alone, with a clock */
  dispatch(
    pipeline: GPUComputePipeline,
    group: GPUBindGroup,
    workgroups: readonly [number, number, number],
    timed?: GPUComputePassDescriptor,
  ): void;
  /** For copies behind what was dispatched. */
  encoder(): GPUCommandEncoder;
  /** What was not submitted yet, and is left to the caller. */
  take(): GPUCommandEncoder;
  /** Submits what was not yet, so that the queue's own writes come behind it. */
  submit(): void;
}

/** No commands. @param label for GPU traces */
export function createCommands(device: GPUDevice, label: string): Commands {
  let encoder: GPUCommandEncoder | null = null;
  let pass: GPUComputePassEncoder | null = null;
  let current: GPUComputePipeline | null = null;
  let waiting = 0;
  let most = AT_ONCE.first;

  function open(): GPUCommandEncoder {
    encoder ??= device.createCommandEncoder({ label });
    return encoder;
  }

  function endPass(): void {
    pass?.end();
    pass = null;
  }

  function take(): GPUCommandEncoder {
    endPass();
    const taken = open();
    encoder = null;
    waiting = 0;
    return taken;
  }

  function submit(): void {
    if (encoder === null) return;
    device.queue.submit([take().finish()]);
    most = Math.min(2 * most, AT_ONCE.most);
  }

  return {
    take,
    submit,
    encoder() {
      endPass();
      return open();
    },
    // The host's part of a step of decode: as few calls as can be, and nothing allocated.
    dispatch(pipeline, group, workgroups, timed) {
      if (waiting >= most) submit();
      waiting++;
      if (timed !== undefined) endPass();
      if (pass === null) {
        pass = open().beginComputePass(timed);
        current = null;
      }
      if (current !== pipeline) pass.setPipeline(pipeline);
      current = pipeline;
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2]);
      if (timed !== undefined) endPass();
    },
  };
}
