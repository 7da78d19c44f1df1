import { KernelError } from "../../spec/errors.ts";

/** What module.wasm.ts exports. Addresses are bytes, in 32 bits whose sign does not matter. */
export interface KernelExports {
  join(thread: number, threads: number): void;
  /** Not 0 where this CPU's dot product of bytes is exact; right once joined. */
  multipliesBytes(): number;
  packRows(from: number, to: number, rows: number, dtype: number, cols: number): number;
  /** 0, or 1 if a thread failed. */
  run(plan: number): number;
  serve(): void;
  dismiss(): void;
  setProfile(address: number): void;
}

/** Addresses of the words that the threads share, in bytes; wasm/team.wasm.ts has the same. */
export const CONTROL = {
  generation: 1088,
  aborted: 1280,
  command: 1344,
  plan: 1408,
  scratch: 1412,
  scratchBytes: 1416,
} as const;
/** Where the f64 of each opcode's milliseconds lie. */
export const PROFILE = 2048;
/** What a plan, a weight or a state may use starts here. */
export const FIRST_FREE = 4096;

/** Makes the kernels of one thread over the common memory. */
export async function instantiate(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
): Promise<KernelExports> {
  const instance = await WebAssembly.instantiate(module, {
    env: { memory },
    host: { now: () => performance.now() },
  });
  if (!isKernelExports(instance.exports)) {
    throw new KernelError(
      "backend",
      `the WebAssembly module exports ${Object.keys(instance.exports).join(", ")}`,
    );
  }
  return instance.exports;
}

function isKernelExports(exports: object): exports is KernelExports {
  const names: readonly (keyof KernelExports)[] = [
    "join",
    "multipliesBytes",
    "packRows",
    "run",
    "serve",
    "dismiss",
    "setProfile",
  ];
  return names.every((name) => name in exports);
}

/** Makes every thread that waits at a barrier give up. */
export function abort(memory: WebAssembly.Memory): void {
  const words = new Int32Array(memory.buffer, 0, FIRST_FREE / 4);
  Atomics.store(words, CONTROL.aborted / 4, 1);
  Atomics.notify(words, CONTROL.generation / 4);
}

/** Whether a thread failed. */
export function isAborted(memory: WebAssembly.Memory): boolean {
  return Atomics.load(new Int32Array(memory.buffer, 0, FIRST_FREE / 4), CONTROL.aborted / 4) !== 0;
}
