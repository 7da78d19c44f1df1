import { existsSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";

/** RTLD_NODELETE of Linux, which Node's constants leave out. */
const KEEP_LOADED = 0x1000;

let opened: Promise<GPU> | undefined;

/**
 * WebGPU under Node on SwiftShader: Dawn with the Vulkan driver that VK_ICD_FILENAMES names (see e2e/vitest.config.ts).
 * One for the whole process: Dawn wants the instance to outlive its devices.
 */
export function softwareGpu(): Promise<GPU> {
  opened ??= open();
  return opened;
}

async function open(): Promise<GPU> {
  loadVulkan();
  const { create, globals } = await import("webgpu");
  Object.assign(globalThis, globals);
  // The features of a GPU as main/engine/node-gpu.ts has them, for whoever runs the tests on one.
  return create([
    "backend=vulkan",
    "enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia",
    "disable-dawn-features=timestamp_quantization",
  ]);
}

/**
 * Dawn opens `libvulkan.so.1` by name. Chromium brings that library beside its driver, outside of the system's search
 * path; once it is in the process, the name finds it. Machines with the package libvulkan1 do not need this.
 */
function loadVulkan(): void {
  const manifest = process.env["VK_ICD_FILENAMES"];
  if (manifest === undefined) return;
  const library = join(dirname(manifest), "libvulkan.so.1");
  if (!existsSync(library)) return;
  try {
    process.dlopen(
      { exports: {} },
      library,
      constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL | KEEP_LOADED,
    );
  } catch (error) {
    // Expected: it is no Node addon. It stays loaded all the same.
    if (!String(error).includes("self-register")) throw error;
  }
}
