/** The browser of all tests: Debian's chromium, with SwiftShader as its WebGPU adapter and no errands of its own. */
import { existsSync } from "node:fs";

/** Chromium's executable. */
export const CHROMIUM = installed("/usr/bin/chromium", "TARN_CHROMIUM");
/** The Vulkan driver manifest of SwiftShader, for Dawn under Node. */
export const SWIFTSHADER = installed(
  "/usr/lib/chromium/vk_swiftshader_icd.json",
  "TARN_SWIFTSHADER_ICD",
);

export const CHROMIUM_ARGS: string[] = [
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-quic",
  "--no-first-run",
  // Chromium's own sandbox refuses to run as root, which is what containers are.
  ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
];

/** Headers that give pages SharedArrayBuffer, as in the application. */
export const ISOLATION = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
  "cross-origin-resource-policy": "same-origin",
};

/** @throws Error naming the Debian package when the file is missing */
function installed(usual: string, variable: string): string {
  const file = process.env[variable] ?? usual;
  if (existsSync(file)) return file;
  throw new Error(
    `The tests need ${file}, which the Debian package "chromium" brings: apt-get install chromium (or name another place in ${variable}).`,
  );
}
