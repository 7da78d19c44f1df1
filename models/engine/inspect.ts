import { recordPlan } from "../../kernels/plan/recorder.ts";
import { packedRowBytes } from "../../kernels/spec/dtype.ts";
import type { OpCall } from "../../kernels/spec/op.ts";
import { UnknownArchitectureError } from "../arch/errors.ts";
import { describeModel } from "../arch/registry.ts";
import { checkingLoader } from "../arch/weight-loader.ts";
import { growthBytes, stateBytes } from "../state/layer-state.ts";
import { openModel, type OpenedModel } from "../weights/open-model.ts";
import type { EngineHost } from "./host.ts";
import type { ModelFile, ModelInspection } from "./protocol.ts";

/**
 * Opens a model's files and reads their headers.
 * @throws WeightsError
 */
export async function openFiles(
  host: EngineHost,
  files: readonly ModelFile[],
): Promise<OpenedModel> {
  const opening = await Promise.allSettled(
    files.map(async ({ open }) => await host.openFile(open)),
  );
  const failed = opening.find((result) => result.status === "rejected");
  const opened = opening.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  if (failed === undefined) return await openModel(opened);
  await Promise.allSettled(opened.map(async (file) => await file.close()));
  throw failed.reason;
}

/**
 * What the headers tell. A model of an unknown architecture is described all the same; a broken one is refused.
 * @throws WeightsError
 */
export async function inspectModel(
  host: EngineHost,
  files: readonly ModelFile[],
): Promise<ModelInspection> {
  const opened = await openFiles(host, files);
  try {
    const { tensors, config } = opened;
    const description = {
      name: opened.name,
      format: config.format,
      modelType: config.modelType,
      samplerHints: opened.samplerHints,
      notices: opened.notices,
      tensors: tensors.names().map((tensor) => {
        const { name, dtype, shape, bytes } = tensors.info(tensor);
        return { name, dtype, shape, bytes };
      }),
    };
    try {
      return { ...description, runs: await describeRun(opened), reason: null };
    } catch (error) {
      if (!(error instanceof UnknownArchitectureError)) throw error;
      return { ...description, runs: null, reason: error.message };
    }
  } finally {
    await opened.close();
  }
}

async function describeRun({
  config,
  tensors,
}: OpenedModel): Promise<NonNullable<ModelInspection["runs"]>> {
  const model = describeModel(config, tensors);
  const loader = checkingLoader(tensors, { quantise: null });
  // Weights of a checking loader have shapes but no bytes: enough to record a plan that nobody will run.
  const record = await model.load(loader);
  const decode = recordPlan({ batch: 1, length: 1 }, model.layout, (k) =>
    record(k, { logits: "last", phase: "decode" }),
  );
  const { parameters, bytes, dtypes, repacked } = loader.totals();
  return {
    nLayer: model.nLayer,
    dModel: model.dModel,
    vocabSize: model.vocabSize,
    parameters,
    weightBytes: bytes,
    dtypes,
    repacked,
    stateBytes: stateBytes(model.layout),
    stateBytesPerToken: growthBytes(model.layout),
    bytesPerToken: decode.calls.reduce(
      (sum, call) => sum + weightBytesRead(call),
      2 * stateBytes(model.layout),
    ),
  };
}

/** Bytes of weights that a call for one token reads: one row of a table that is looked up, all of any other. */
function weightBytesRead({ op, operands }: OpCall): number {
  return Object.values(operands).reduce((sum: number, operand) => {
    if (typeof operand !== "object" || operand === null || !("dtype" in operand)) return sum;
    return (
      sum + (op === "embedding" ? 1 : operand.rows) * packedRowBytes(operand.dtype, operand.cols)
    );
  }, 0);
}
