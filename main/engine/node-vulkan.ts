import { existsSync, readdirSync } from "node:fs";
import { constants } from "node:os";
import path from "node:path";

/** RTLD_NODELETE of Linux, which Node's constants leave out. */
const KEEP_LOADED = 0x1000;

/** Where Vulkan's loader looks for drivers. */
const DRIVER_FOLDERS = [
  "/usr/share/vulkan/icd.d",
  "/etc/vulkan/icd.d",
  "/usr/local/share/vulkan/icd.d",
];

/** The software driver that browsers bring. */
const SOFTWARE_DRIVERS = [
  "/usr/lib/chromium/vk_swiftshader_icd.json",
  "/usr/lib/chromium-browser/vk_swiftshader_icd.json",
  "/opt/google/chrome/vk_swiftshader_icd.json",
];

/**
 * On Linux without any Vulkan driver: names a browser's SwiftShader to the loader, so that `--backend webgpu` runs there
 * too. It is a software adapter, which nothing but that name chooses. To be called on the main thread: the loader reads
 * the process's own environment, and a worker's is a copy.
 */
export function nameSoftwareDriver(env: NodeJS.ProcessEnv = process.env): void {
  if (process.platform !== "linux") return;
  if (env["VK_DRIVER_FILES"] !== undefined || env["VK_ICD_FILENAMES"] !== undefined) return;
  if (DRIVER_FOLDERS.some((folder) => existsSync(folder) && readdirSync(folder).length > 0)) return;
  const driver = SOFTWARE_DRIVERS.find((file) => existsSync(file));
  if (driver !== undefined) env["VK_DRIVER_FILES"] = driver;
}

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
