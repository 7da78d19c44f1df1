import type { DeviceInfo } from "../../spec/backend.ts";
import { KernelError } from "../../spec/errors.ts";

/** Limits that a backend may use fully; everything else stays at WebGPU's defaults, which every device has. */
const WANTED_LIMITS = ["maxBufferSize", "maxStorageBufferBindingSize"] as const;

/** Names under which CPUs play a GPU. `isFallbackAdapter` alone is not enough: drivers of llvmpipe do not set it. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|softpipe|software|basic render|warp/i;

/** A device with what the backend must know of it, and the one place where its failures arrive. */
export interface GpuDevice {
  readonly device: GPUDevice;
  /** Kept with the device: Dawn under Node crashes if its entry point is collected while a device lives. */
  readonly gpu: GPU;
  readonly info: DeviceInfo;
  /** Lanes of a subgroup where all subgroups have the same number; else null. */
  readonly subgroupSize: number | null;
  /** Bytes that one binding may cover. */
  readonly maxBindingBytes: number;
  /** @throws KernelError `device-lost`, or whatever error the device reported since the last look */
  check(): void;
  /**
   * Waits for GPU work; a loss of the device, or an error that no scope caught, rejects it.
   * @throws KernelError `device-lost`, `out-of-memory`, `backend`
   */
  settle<T>(work: Promise<T>): Promise<T>;
  /** Frees the device; every later call throws `device-lost`. */
  destroy(): void;
}

/**
 * The fastest adapter's device, with the limits the adapter has.
 * @param allowSoftware whether a CPU that plays a GPU will do
 * @returns null where there is no adapter, or only one that is refused
 */
export async function requestGpuDevice(
  gpu: GPU,
  allowSoftware: boolean,
): Promise<GpuDevice | null> {
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (adapter === null) return null;
  const software = isSoftware(adapter.info);
  if (software && !allowSoftware) return null;

  const subgroups = adapter.features.has("subgroups");
  const device = await adapter.requestDevice({
    label: "tarn",
    requiredFeatures: subgroups ? ["subgroups"] : [],
    requiredLimits: Object.fromEntries(WANTED_LIMITS.map((name) => [name, adapter.limits[name]])),
  });
  const { subgroupMinSize, subgroupMaxSize } = adapter.info;
  return watch(device, {
    gpu,
    info: {
      backend: "webgpu",
      name: nameOf(adapter.info),
      software,
      features: subgroups ? ["subgroups"] : [],
      limits: Object.fromEntries(WANTED_LIMITS.map((name) => [name, device.limits[name]])),
    },
    subgroupSize: subgroups && subgroupMinSize === subgroupMaxSize ? subgroupMinSize : null,
    // An adapter may have less than the default that its device then reports; never go beyond either.
    maxBindingBytes: Math.min(
      ...WANTED_LIMITS.flatMap((name) => [adapter.limits[name], device.limits[name]]),
    ),
  });
}

/** True for a CPU that plays a GPU. */
export function isSoftware(info: GPUAdapterInfo): boolean {
  return (
    info.isFallbackAdapter ||
    [info.vendor, info.architecture, info.device, info.description].some((text) =>
      SOFTWARE.test(text),
    )
  );
}

function nameOf(info: GPUAdapterInfo): string {
  const name =
    info.description || info.device || [info.vendor, info.architecture].filter(Boolean).join(" ");
  return name || "unnamed GPU";
}

function watch(
  device: GPUDevice,
  facts: Pick<GpuDevice, "gpu" | "info" | "subgroupSize" | "maxBindingBytes">,
): GpuDevice {
  let lost: KernelError | null = null;
  let uncaptured: KernelError | null = null;
  const whenLost = device.lost.then(({ reason, message }) => {
    lost = new KernelError(
      "device-lost",
      `the GPU device ${facts.info.name} is gone (${reason}): ${message}`,
      { reason },
    );
    return lost;
  });
  device.addEventListener("uncapturederror", ({ error }) => {
    uncaptured ??= asKernelError(error);
  });

  function check(): void {
    if (lost !== null) throw lost;
    if (uncaptured !== null) {
      const error = uncaptured;
      uncaptured = null;
      throw error;
    }
  }

  return {
    device,
    ...facts,
    check,
    async settle<T>(work: Promise<T>): Promise<T> {
      const done = work.then(
        (value) => ({ value }),
        (reason: unknown) => ({ reason }),
      );
      const outcome = await Promise.race([done, whenLost]);
      check();
      if (outcome instanceof KernelError) throw outcome;
      if ("value" in outcome) return outcome.value;
      // Pending work may be rejected a moment before the loss that is its cause becomes known.
      const cause = await Promise.race([
        whenLost,
        new Promise<null>((resolve) => setTimeout(() => resolve(null), 50)),
      ]);
      throw cause ?? new KernelError("backend", `GPU work failed: ${String(outcome.reason)}`);
    },
    destroy: () => device.destroy(),
  };
}

/** A device's error in our terms. */
export function asKernelError(error: GPUError): KernelError {
  const outOfMemory = error instanceof GPUOutOfMemoryError;
  return new KernelError(
    outOfMemory ? "out-of-memory" : "backend",
    outOfMemory
      ? `the GPU is out of memory: ${error.message}`
      : `the GPU reported an error: ${error.message}`,
  );
}
