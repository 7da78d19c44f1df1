import { existsSync } from "node:fs";
import { constants } from "node:os";
import path from "node:path";

/** RTLD_NODELETE of Linux, which Node's constants leave out. */
const KEEP_LOADED = 0x1000;

/**
 * Brings Vulkan's loader into the process, where Dawn, which opens "libvulkan.so.1" by name, finds it. It may lie in the
 * system's search path (the package libvulkan1), or beside the driver that VK_ICD_FILENAMES names (Chromium's own).
 * Dawn itself would write a warning for every process that asks in vain.
 * @returns false on Linux without Vulkan; other systems have other ways to the GPU
 */
export function loadVulkan(): boolean {
  if (process.platform !== "linux") return true;
  const manifest = (process.env["VK_DRIVER_FILES"] ?? process.env["VK_ICD_FILENAMES"])?.split(
    ":",
  )[0];
  const beside =
    manifest === undefined ? null : path.join(path.dirname(manifest), "libvulkan.so.1");
  return open("libvulkan.so.1") || (beside !== null && existsSync(beside) && open(beside));
}

function open(library: string): boolean {
  try {
    process.dlopen(
      { exports: {} },
      library,
      constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL | KEEP_LOADED,
    );
    return true;
  } catch (error) {
    // It is no Node addon, and Node says so; but only once it is loaded, and loaded it stays.
    return String(error).includes("self-register");
  }
}
