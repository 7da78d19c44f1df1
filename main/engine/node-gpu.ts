/** WebGPU under Node: Dawn by the optional npm package `webgpu`. */

import { loadVulkan } from "./node-vulkan.ts";

let pending: Promise<GPU | null> | null = null;

/**
 * The process's one GPU entry point; null where the optional package is not installed or has no build for this
 * machine. Dawn writes its warnings to the process's standard output, so a program whose output matters must keep
 * its result elsewhere (see main/cli/launch.ts).
 */
export function requestNodeGpu(): Promise<GPU | null> {
  pending ??= open();
  return pending;
}

async function open(): Promise<GPU | null> {
  if (!loadVulkan()) return null;
  let dawn: typeof import("webgpu");
  try {
    dawn = await import("webgpu");
  } catch (error) {
    console.error(
      `WebGPU is not available: ${error instanceof Error ? error.message.split("\n")[0] : String(error)}`,
    );
    return null;
  }
  // The constants (GPUBufferUsage, …) are globals in browsers, and kernels use them as such.
  Object.assign(globalThis, dawn.globals);
  return dawn.create([]);
}
