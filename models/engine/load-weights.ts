import type { Backend } from "../../kernels/spec/backend.ts";
import type { Model, RecordRun } from "../arch/architecture.ts";
import { describeModel } from "../arch/registry.ts";
import { checkingLoader, uploadingLoader, type LoadOptions, type WeightTotals } from "../arch/weight-loader.ts";
import type { OpenedModel } from "../weights/open-model.ts";

export interface LoadedWeights {
  readonly model: Model;
  readonly record: RecordRun;
  readonly totals: WeightTotals;
}

/**
 * Finds the architecture, checks every tensor's name and shape against the configuration, and only then uploads.
 * @throws WeightsError, UnknownArchitectureError, KernelError `out-of-memory`
 */
export async function loadWeights(opened: OpenedModel, options: LoadOptions, backend: Backend): Promise<LoadedWeights> {
  const { config, tensors } = opened;
  const model = describeModel(config, tensors);
  const checking = checkingLoader(tensors, options);
  await model.load(checking);
  const record = await model.load(uploadingLoader(tensors, options, async (spec, read) => await backend.uploadWeight(spec, read)));
  return { model, record, totals: checking.totals() };
}
