/** Which builds of llama.cpp a place is measured against. */
import { cudaLibraries, hasNvcc } from "./cuda.ts";
import { LIBRARIES, LLAMA_CPP, type LlamaOptions } from "./llama.ts";
import type { BenchOptions } from "./options.ts";
import type { ModelName } from "./shapes.ts";

/** How a peer runs a file: all but the name of that and the longest sequence. */
export interface PeerPlan {
  readonly model: string;
  readonly threads: number;
  readonly context: number;
}

/** The processor's build. */
export function cpuPeer(plan: PeerPlan): LlamaOptions {
  return { ...plan, name: LLAMA_CPP, libraries: LIBRARIES.cpu, gpu: null };
}

/**
 * Those for a GPU that are asked for and can be had.
 * @param missing is told what cannot be had, and why
 */
export async function gpuPeers(
  model: ModelName,
  plan: PeerPlan,
  options: BenchOptions,
  missing: (what: string) => void,
): Promise<LlamaOptions[]> {
  const found: LlamaOptions[] = [];
  if (options.peers.includes("cuda"))
    try {
      const libraries = options.cudaLibraries ?? (await builtCuda(options));
      found.push({ ...plan, name: `${LLAMA_CPP} CUDA`, libraries, gpu: "CUDA" });
    } catch (error) {
      // Without it, what the others say still counts.
      missing(`${LLAMA_CPP} CUDA: ${error instanceof Error ? error.message : String(error)}`);
    }
  if (options.peers.includes("vulkan"))
    found.push({
      ...plan,
      name: vulkanName(model, plan),
      libraries: LIBRARIES.vulkan,
      gpu: "Vulkan",
    });
  return found;
}

async function builtCuda(options: BenchOptions): Promise<string> {
  if (!(await hasNvcc()))
    throw new Error("there is no nvcc to build it with (CUDA's toolkit; or --llama-cuda DIR).");
  return await cudaLibraries(options);
}

/** Mamba-1's scan has no shader there: the processor computes it. */
function vulkanName(model: ModelName, { threads }: PeerPlan): string {
  const scans = model.startsWith("mamba-") || model.startsWith("jamba-");
  return scans
    ? `${LLAMA_CPP} Vulkan (scan: ${threads} threads of the CPU)`
    : `${LLAMA_CPP} Vulkan`;
}
