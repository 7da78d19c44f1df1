import type { DeviceInfo } from "../../kernels/spec/backend.ts";
import type { ModelFile, ModelInspection } from "../../models/engine/protocol.ts";
import { modelFiles } from "../services/models/model-files.ts";
import { createHubClient } from "../services/hub/hub-client.ts";
import { chooseFiles } from "../services/hub/pull.ts";
import { readHubName, type HubName } from "./hub-name.ts";
import { modelPath, withEngine } from "./model.ts";
import { parse, readCommon, UsageError } from "./options.ts";
import { writeJson, writeResult } from "./output.ts";

export const usage = `Usage: tarn inspect [FILE | hf:OWNER/NAME[@REVISION][:PART]]

Architecture, tensors, types, parameters, bytes of a state, bytes that one token touches, and what would run it. Of a model on the hub only
the headers are read.`;

export async function run(args: readonly string[]): Promise<void> {
  const { values, positionals } = parse(args, {});
  const common = readCommon(values);
  if (positionals.length > 1) throw new UsageError("Give one file or model folder.");
  const asked = positionals[0] ?? common.model;
  const remote = asked === null ? null : readHubName(asked);
  const path = remote === null || asked === null ? await modelPath({ model: asked }) : asked;
  const files = remote === null ? await modelFiles(path) : await remoteFiles(remote);
  const report = await withEngine(async (engine) => {
    const inspection = await engine.call("inspect", { files });
    const { devices } = await engine.call("devices", {});
    // The engine's own order; software adapters and the reference only run when they are named.
    const automatic = devices.find(
      ({ backend, software }) => backend === "wasm" || (backend === "webgpu" && !software),
    );
    return { path, ...inspection, device: inspection.runs === null ? null : (automatic ?? null) };
  });
  if (common.json) writeJson(report);
  else writeResult(describe(report));
}

/** A model's files where they are: the engine reads their headers by ranges. */
async function remoteFiles({ name, revision, part }: HubName): Promise<readonly ModelFile[]> {
  const found = await createHubClient(process.env).files(name, revision);
  return chooseFiles(found, part)
    .filter(({ path }) =>
      /\.(safetensors|gguf)$|^(config|generation_config|params|model\.safetensors\.index)\.json$/.test(
        path,
      ),
    )
    .map(({ path, url, bytes }) => ({ name: path, open: url, bytes }));
}

type Report = ModelInspection & { readonly path: string; readonly device: DeviceInfo | null };

type Runs = NonNullable<ModelInspection["runs"]>;

const FIDELITY: Readonly<Record<Runs["repacked"][number]["values"], string>> = {
  exact: "exactly",
  "exact-in-f16-range": "exactly but for scales beyond f16's",
  rounded: "rounded",
};

const HINTS: Readonly<Record<string, string>> = {
  temperature: "temperature",
  topK: "top-k",
  topP: "top-p",
  minP: "min-p",
  repetitionPenalty: "repetition penalty",
  repetitionWindow: "over tokens",
};

function describe({
  path,
  name,
  format,
  modelType,
  samplerHints,
  notices,
  tensors,
  runs,
  reason,
  device,
}: Report): string {
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(2)} MiB`;
  const repacked = new Map(
    runs?.repacked.map(({ tensor, to, values }) => [
      tensor,
      `in memory ${to}, ${FIDELITY[values]}`,
    ]),
  );
  const columns = tensors.map((tensor) => [
    tensor.name,
    repacked.has(tensor.name) ? `${tensor.dtype}, ${repacked.get(tensor.name)}` : tensor.dtype,
    `(${tensor.shape.join(", ")})`,
    mebibytes(tensor.bytes),
  ]);
  const widths = [0, 1, 2].map((column) =>
    Math.max(0, ...columns.map((row) => row[column]?.length ?? 0)),
  );
  const facts =
    runs === null
      ? [["runs", reason ?? "no"]]
      : [
          ["layers", `${runs.nLayer}, ${runs.dModel} wide`],
          ["vocabulary", `${runs.vocabSize} tokens`],
          ["parameters", `${(runs.parameters / 1e6).toFixed(1)} million`],
          [
            "weights",
            `${mebibytes(runs.weightBytes)}: ${Object.entries(runs.dtypes)
              .map(([dtype, n]) => `${n} matrices ${dtype}`)
              .join(", ")}`,
          ],
          ...(repacked.size === 0
            ? []
            : [["", `${repacked.size} tensors are repacked as they are read, see below`]]),
          ["state", `${mebibytes(runs.stateBytes)}, f32`],
          ...(runs.stateBytesPerToken === 0
            ? []
            : [["", `${(runs.stateBytesPerToken / 1024).toFixed(2)} KiB more for each token`]]),
          ["a token", `${mebibytes(runs.bytesPerToken)} read and written`],
          ["runs on", device === null ? "nothing here" : `${device.backend} (${device.name})`],
        ];
  const hints = Object.entries(samplerHints).map(
    ([field, value]) => `${HINTS[field] ?? field} ${value}`,
  );
  if (hints.length > 0) facts.push(["sampling", `${hints.join(", ")}, say its authors`]);
  for (const notice of notices) facts.push(["", notice]);
  return [
    `${name === "" ? path : name}: ${modelType === "" ? "no architecture named" : modelType}, ${format}`,
    ...facts.map(([label = "", fact = ""]) => `  ${label.padEnd(11)} ${fact}`),
    "",
    ...columns.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")),
    "",
  ].join("\n");
}
