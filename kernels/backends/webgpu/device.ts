import type { DeviceInfo } from "../../spec/backend.ts";
import { KernelError } from "../../spec/errors.ts";
import type { SubgroupMatrixShape } from "../../wgsl/dispatch.ts";

/** Limits of which `maxBindingBytes` is the smallest. */
const BINDING_LIMITS = ["maxBufferSize", "maxStorageBufferBindingSize"] as const;

/** Limits that a backend may use fully; everything else stays at WebGPU's defaults, which every device has. */
const WANTED_LIMITS = [
  ...BINDING_LIMITS,
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxStorageBuffersPerShaderStage",
] as const;

/** Features that kernels have a faster way with; each does without. The last is Dawn's own, and no part of WebGPU yet. */
const WANTED_FEATURES: readonly string[] = [
  "shader-f16",
  "subgroups",
  "timestamp-query",
  "chromium-experimental-subgroup-matrix",
];

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
  /** Whether shaders may `enable f16`. */
  readonly f16: boolean;
  /** Sizes of f16 products with f32 sums that a subgroup computes as one; null where there are none. */
  readonly subgroupMatrix: SubgroupMatrixShape | null;
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

  const features = WANTED_FEATURES.filter((name): name is GPUFeatureName =>
    adapter.features.has(name),
  );
  const device = await adapter.requestDevice({
    label: "tarn",
    requiredFeatures: features,
    requiredLimits: Object.fromEntries(WANTED_LIMITS.map((name) => [name, adapter.limits[name]])),
  });
  const { subgroupMinSize, subgroupMaxSize } = adapter.info;
  const oneSubgroupSize =
    device.features.has("subgroups") && subgroupMinSize === subgroupMaxSize
      ? (subgroupMinSize ?? null)
      : null;
  const f16 = device.features.has("shader-f16");
  const subgroupMatrix =
    f16 && oneSubgroupSize !== null
      ? await usableMatrix(device, adapter.info, oneSubgroupSize)
      : null;
  return watch(device, {
    gpu,
    info: {
      backend: "webgpu",
      name: nameOf(adapter.info),
      software,
      features: subgroupMatrix === null ? features : [...features, "f16-products"],
      limits: Object.fromEntries(WANTED_LIMITS.map((name) => [name, device.limits[name]])),
    },
    subgroupSize: oneSubgroupSize,
    f16,
    subgroupMatrix,
    // An adapter may have less than the default that its device then reports; never go beyond either.
    maxBindingBytes: Math.min(
      ...BINDING_LIMITS.flatMap((name) => [adapter.limits[name], device.limits[name]]),
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

declare global {
  /** What Dawn adds to WebGPU's with `chromium-experimental-subgroup-matrix`. */
  interface GPUAdapterInfo {
    readonly subgroupMatrixConfigs?: readonly {
      readonly componentType: string;
      readonly resultComponentType: string;
      readonly M: number;
      readonly N: number;
      readonly K: number;
    }[];
  }
}

/** The matrices that products are made of; null where the adapter has none, or the WGSL compiler does not take our words. */
async function usableMatrix(
  device: GPUDevice,
  info: GPUAdapterInfo,
  subgroupSize: number,
): Promise<SubgroupMatrixShape | null> {
  const shape = subgroupMatrixOf(device, info);
  return shape !== null && (await speaksMatrices(device, shape, subgroupSize)) ? shape : null;
}

/** The largest of the adapter's f16 products with f32 sums whose sides divide the kernels' tiles. */
function subgroupMatrixOf(device: GPUDevice, info: GPUAdapterInfo): SubgroupMatrixShape | null {
  // What the largest tile of linear-matrix.wgsl takes.
  const { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup } = device.limits;
  if (maxComputeWorkgroupStorageSize < 40960 || maxComputeInvocationsPerWorkgroup < 256)
    return null;
  const shapes = (info.subgroupMatrixConfigs ?? [])
    .filter(
      ({ componentType, resultComponentType, M, N, K }) =>
        componentType === "f16" &&
        resultComponentType === "f32" &&
        [M, N, K].every((side) => side >= 8 && 16 % side === 0),
    )
    .map(({ M, N, K }) => ({ m: M, n: N, k: K }));
  return shapes.toSorted((a, b) => b.m * b.n * b.k - a.m * a.n * a.k)[0] ?? null;
}

/**
 * The extension is no standard yet, and its words have changed before: whether this WGSL compiler knows ours, and what
 * stands below it what that becomes. Matrices that begin at any vector of an array are no part of its draft.
 */
async function speaksMatrices(
  device: GPUDevice,
  { m, n, k }: SubgroupMatrixShape,
  subgroupSize: number,
): Promise<boolean> {
  if (!device.features.has("chromium-experimental-subgroup-matrix")) return false;
  device.pushErrorScope("validation");
  const module = device.createShaderModule({
    label: "subgroup matrices",
    code: `
      enable subgroups;
      enable f16;
      enable chromium_experimental_subgroup_matrix;
      alias Left = subgroup_matrix_left<f16, ${k}, ${m}>;
      alias Right = subgroup_matrix_right<f16, ${n}, ${k}>;
      alias Sums = subgroup_matrix_result<f32, ${n}, ${m}>;
      var<workgroup> factors: array<array<vec4<u32>, 288>, 2>;
      var<workgroup> sums: array<vec4<u32>, 288>;
      @group(0) @binding(0) var<storage, read_write> result: array<vec4<u32>>;
      @compute @workgroup_size(${subgroupSize})
      fn main(@builtin(subgroup_id) subgroup: u32, @builtin(local_invocation_index) thread: u32) {
        let left = subgroupMatrixLoad<Left, row_major>(&factors[subgroup], 2u, 17u);
        let right = subgroupMatrixLoad<Right, col_major>(&factors[1], 0u, 17u);
        subgroupMatrixStore<row_major>(&sums, 4u, subgroupMatrixMultiplyAccumulate(left, right, Sums()), 17u);
        workgroupBarrier();
        result[thread] = sums[thread];
      }`,
  });
  if ((await device.popErrorScope()) !== null) return false;
  return await device
    .createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: "main" } })
    .then(
      () => true,
      () => false,
    );
}

function nameOf(info: GPUAdapterInfo): string {
  const name =
    info.description || info.device || [info.vendor, info.architecture].filter(Boolean).join(" ");
  return name || "unnamed GPU";
}

function watch(
  device: GPUDevice,
  facts: Pick<
    GpuDevice,
    "gpu" | "info" | "subgroupSize" | "f16" | "subgroupMatrix" | "maxBindingBytes"
  >,
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
