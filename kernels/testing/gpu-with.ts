import { softwareGpu } from "./software-gpu.ts";

/** A GPU whose adapters say what `changes` says, and are real in all else. */
export function gpuWith(
  gpu: GPU,
  changes: {
    readonly limits?: Readonly<Record<string, number>>;
    readonly features?: ReadonlySet<string>;
    readonly info?: Readonly<Record<string, unknown>>;
    readonly onDevice?: (device: GPUDevice) => void;
  },
): GPU {
  const adapterOf = (adapter: GPUAdapter): GPUAdapter =>
    new Proxy(adapter, {
      get(target, name) {
        if (name === "limits") return changed(target.limits, changes.limits);
        if (name === "info") return changed(target.info, changes.info);
        if (name === "features" && changes.features !== undefined) return changes.features;
        if (name === "requestDevice") {
          return async (descriptor: GPUDeviceDescriptor) => {
            const device = await target.requestDevice(descriptor);
            changes.onDevice?.(device);
            return device;
          };
        }
        const value: unknown = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  return new Proxy(gpu, {
    get: (target, name) =>
      name === "requestAdapter"
        ? async (options: GPURequestAdapterOptions) => {
            const adapter = await target.requestAdapter(options);
            return adapter === null ? null : adapterOf(adapter);
          }
        : Reflect.get(target, name),
  });
}

/** An object with some properties replaced. */
function changed<T extends object>(
  original: T,
  changes: Readonly<Record<string, unknown>> = {},
): T {
  return new Proxy(original, {
    get: (target, name) =>
      Object.hasOwn(changes, name) ? changes[String(name)] : Reflect.get(target, name),
  });
}

/** One without subgroups that is not software to those who ask: it gets the kernels that hardware gets. */
export async function plainGpu(): Promise<GPU> {
  const info = { vendor: "maker", architecture: "", device: "", description: "Plain GPU" };
  return gpuWith(await softwareGpu(), {
    features: new Set(),
    info: { ...info, isFallbackAdapter: false },
  });
}
