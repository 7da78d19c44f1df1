/** WebGPU under Node: Dawn by the optional npm package `webgpu`. */

import { loadVulkan } from "./node-vulkan.ts";

/**
 * What Dawn would keep back here. Safe to set always, as all shaders are this application's own and no page can bring
 * others; an adapter lists what it has either way, and a backend is used only after it has passed the self-test.
 * - allow_unsafe_apis: features that are no standard yet, of which kernels use `chromium-experimental-subgroup-matrix`.
 * - vulkan_enable_f16_on_nvidia: Dawn hides `shader-f16` there because some of its conformance tests fail; our own
 *   comparisons with the reference have passed on such GPUs.
 * - timestamp_quantization keeps pages from measuring each other; kernels are shorter than its steps.
 */
const DAWN_FLAGS = [
  "enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia",
  "disable-dawn-features=timestamp_quantization",
];

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
  return dawn.create(DAWN_FLAGS);
}
