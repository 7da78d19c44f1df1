import type { Backend } from "../../kernels/spec/backend.ts";
import type { Model, RecordRun } from "../arch/architecture.ts";
import { describeModel } from "../arch/registry.ts";
import {
  checkingLoader,
  uploadingLoader,
  type LoadOptions,
  type WeightTotals,
} from "../arch/weight-loader.ts";
import type { OpenedModel } from "../weights/open-model.ts";

/** A model whose every tensor is there in the right shape, before the first byte is uploaded. */
export interface CheckedModel {
  readonly model: Model;
  readonly totals: WeightTotals;
}

/**
 * Finds the architecture and checks every tensor's name and shape against the configuration; reads headers only.
 * @throws WeightsError, UnknownArchitectureError
 */
export async function checkModel(
  { config, tensors }: OpenedModel,
  options: LoadOptions,
): Promise<CheckedModel> {
  const model = describeModel(config, tensors);
  const loader = checkingLoader(tensors, options);
  await model.load(loader);
  return { model, totals: loader.totals() };
}

/** Reads the weights into the backend. @throws WeightsError `io`, KernelError `out-of-memory` */
export async function uploadModel(
  model: Model,
  { tensors }: OpenedModel,
  options: LoadOptions,
  backend: Backend,
): Promise<RecordRun> {
  return await model.load(
    uploadingLoader(tensors, options, async (spec, read) => await backend.uploadWeight(spec, read)),
  );
}
