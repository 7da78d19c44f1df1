import type { ThreadPort } from "../../kernels/spec/backend.ts";
import type { RandomAccessFile } from "../weights/source.ts";

/** The engine's end of a message port with structured clone. */
export interface EnginePort {
  postMessage(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  onMessage(listener: (message: unknown) => void): void;
}

/**
 * What the engine needs of the place where it runs, and all that differs between a Node worker thread and a Web
 * Worker. The engine itself knows neither.
 */
export interface EngineHost {
  readonly port: EnginePort;
  /** Opens `ModelFile.open` for reads of byte ranges. Rejects where there is no such file. */
  openFile(open: string): Promise<RandomAccessFile>;
  /** null where there is no WebGPU at all. */
  requestGpu(): Promise<GPU | null>;
  /** Makes one more thread for the WASM backend; null where SharedArrayBuffer or threads are missing. */
  readonly spawnThread: (() => ThreadPort) | null;
  /** Threads that the machine runs at once. */
  readonly cores: number;
}
