import { app } from "electron";

/** Command-line switches of Chromium; they count only before Electron is ready. */
export function switchOnWebGpu(): void {
  // Chromium still counts WebGPU on Linux as unsafe, and reaches the GPU through Vulkan only when told to.
  if (process.platform === "linux") {
    app.commandLine.appendSwitch("enable-unsafe-webgpu");
    app.commandLine.appendSwitch("enable-features", "Vulkan,VulkanFromANGLE,DefaultANGLEVulkan");
  }
  // Subgroup matrices are behind Dawn's unsafe APIs, f16 on NVIDIA's Vulkan driver behind a switch of its own; kernels
  // ask for the features and do without where they are missing. Windows load the application's own code only.
  app.commandLine.appendSwitch(
    "enable-dawn-features",
    "allow_unsafe_apis,vulkan_enable_f16_on_nvidia",
  );
  // A hidden window is throttled by default; the engine works there.
  app.commandLine.appendSwitch("disable-renderer-backgrounding");
  // Nothing here asks the network for anything by itself (invariant 8); these are Chromium's own errands.
  app.commandLine.appendSwitch("disable-background-networking");
  app.commandLine.appendSwitch("disable-component-update");
  app.commandLine.appendSwitch("disable-domain-reliability");
}
