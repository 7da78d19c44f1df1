import { type PlanShape, recordPlan } from "../../kernels/plan/recorder.ts";
import type { Backend, Executable } from "../../kernels/spec/backend.ts";
import type { StateLayout } from "../../kernels/spec/tensor.ts";
import type { RecordRun, RunOptions } from "../arch/architecture.ts";

export interface PlanCache {
  /** The executable for `batch` sequences of `length` tokens; recorded and compiled the first time. */
  get(shape: PlanShape, options: RunOptions): Promise<Executable>;
  release(): void;
}

/**
 * Executables by shape, the least recently used dropped beyond `most`: prompts end in pieces of every length, and
 * each executable holds its workspace.
 */
export function createPlanCache(
  backend: Backend,
  layout: StateLayout,
  record: RecordRun,
  most = 8,
): PlanCache {
  const byShape = new Map<string, Executable>();
  return {
    async get(shape, options) {
      const { batch, length, activations = "int16" } = shape;
      const key = `${batch} ${length} ${activations} ${options.logits} ${options.phase}`;
      const cached = byShape.get(key);
      // Taken out and put in again: a Map lists the oldest first.
      byShape.delete(key);
      const executable =
        cached ?? (await backend.compile(recordPlan(shape, layout, (k) => record(k, options))));
      byShape.set(key, executable);
      for (const [oldest, dropped] of byShape) {
        if (byShape.size <= most) break;
        byShape.delete(oldest);
        dropped.release();
      }
      return executable;
    },
    release() {
      for (const executable of byShape.values()) executable.release();
      byShape.clear();
    },
  };
}
