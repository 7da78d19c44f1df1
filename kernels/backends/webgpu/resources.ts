import type { Arena } from "./arena.ts";
import type { Allocator } from "./buffers.ts";
import type { GpuDevice } from "./device.ts";
import type { Pipelines } from "./pipelines.ts";
import type { Profiler } from "./profiler.ts";
import type { Readback } from "./readback.ts";
import type { Shadow } from "./shadow.ts";
import type { States } from "./states.ts";
import type { InTurn } from "./turns.ts";
import type { WeightStore } from "./weights.ts";

/** What executables share on a backend. */
export interface Resources {
  readonly gpu: GpuDevice;
  readonly allocator: Allocator;
  readonly arena: Arena;
  readonly inTurn: InTurn;
  readonly pipelines: Pipelines;
  readonly profiler: Profiler;
  readonly readback: Readback;
  readonly shadow: Shadow;
  readonly states: States;
  readonly weights: WeightStore;
  /** Bound where an operand is off. */
  readonly unused: GPUBuffer;
}
