import { createReferenceBackend } from "../../kernels/backends/reference/backend.ts";
import { createWasmBackend } from "../../kernels/backends/wasm/backend.ts";
import { createWebGpuBackend } from "../../kernels/backends/webgpu/backend.ts";
import type { Backend, BackendName } from "../../kernels/spec/backend.ts";
import { EngineFault } from "./failure.ts";
import type { EngineHost } from "./host.ts";
import type { BackendChoice } from "./protocol.ts";

export interface BackendOptions {
  /** Threads of the WASM backend; null for as many as cores. */
  readonly threads: number | null;
  /** A CPU that plays a GPU counts as one; only where WebGPU was asked for by name. */
  readonly allowSoftware: boolean;
}

/** One way to compute that may or may not be there. */
export interface BackendCandidate {
  readonly name: BackendName;
  /**
   * Whether "auto" may take it. The reference is only taken by name: it is hundreds of times slower, and to fall
   * back on it silently would look like a hang.
   */
  readonly automatic: boolean;
  /** @throws EngineFault `no-backend` where this machine lacks it, KernelError where it does not start */
  create(options: BackendOptions): Promise<Backend>;
}

/** What this host could run on, best first. */
export function backendCandidates(host: EngineHost): readonly BackendCandidate[] {
  return [
    {
      name: "webgpu",
      automatic: true,
      async create({ allowSoftware }) {
        const gpu = await host.requestGpu();
        if (gpu === null) throw new EngineFault("no-backend", "there is no WebGPU here.");
        const backend = await createWebGpuBackend({ gpu, allowSoftware });
        if (backend !== null) return backend;
        throw new EngineFault(
          "no-backend",
          allowSoftware ? "there is no WebGPU adapter." : "there is no WebGPU adapter of hardware.",
        );
      },
    },
    {
      name: "wasm",
      automatic: true,
      create: async ({ threads }) =>
        await createWasmBackend({
          threads: threads ?? host.cores,
          ...(host.spawnThread === null ? {} : { spawnThread: host.spawnThread }),
        }),
    },
    { name: "reference", automatic: false, create: async () => createReferenceBackend() },
  ];
}

/**
 * The candidates that a choice allows, in order.
 * @throws EngineFault `no-backend`
 */
export function chooseCandidates(
  candidates: readonly BackendCandidate[],
  choice: BackendChoice,
): readonly BackendCandidate[] {
  const chosen = candidates.filter(({ name, automatic }) =>
    choice === "auto" ? automatic : name === choice,
  );
  if (chosen.length === 0)
    throw new EngineFault("no-backend", `There is no backend "${choice}" here.`, {
      backend: choice,
    });
  return chosen;
}
