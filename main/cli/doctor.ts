import { statfs } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";
import path from "node:path";
import type { DeviceInfo } from "../../kernels/spec/backend.ts";
import { prepareDataFolder } from "../services/data-folder.ts";
import { openStore } from "../store/store.ts";
import { withEngine } from "./model.ts";
import { parse, readCommon } from "./options.ts";
import { writeJson, writeResult } from "./output.ts";

export const usage = `Usage: tarn doctor

Adapters, features, limits and backends of this machine, a check of the database, free disk.`;

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parse(args, {});
  const common = readCommon(values);
  const folder = prepareDataFolder(common.data);
  const { devices, notes } = await withEngine(async (engine) => await engine.call("devices", {}));
  const disk = await statfs(folder);
  const report = {
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    devices,
    notes,
    dataFolder: folder,
    freeDiskBytes: disk.bavail * disk.bsize,
    database: await checkDatabase(path.join(folder, "tarn.sqlite")),
  };
  if (common.json) writeJson(report);
  else writeResult(describe(report));
}

/** One sentence; an open or broken database is a finding, not a failure of this command. */
async function checkDatabase(
  file: string,
): Promise<{ readonly sound: boolean; readonly findings: string }> {
  try {
    const store = await openStore({ file, maxPages: null });
    const result = await store.run("checkDatabase", {});
    await store.close();
    return result;
  } catch (error) {
    return { sound: false, findings: error instanceof Error ? error.message : String(error) };
  }
}

interface Report {
  readonly node: string;
  readonly platform: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly devices: readonly DeviceInfo[];
  readonly notes: readonly string[];
  readonly dataFolder: string;
  readonly freeDiskBytes: number;
  readonly database: { readonly sound: boolean; readonly findings: string };
}

function describe(report: Report): string {
  const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  return [
    `Node ${report.node} on ${report.platform}, ${report.cores} cores, ${gibibytes(report.memoryBytes)} memory`,
    "",
    ...report.devices.flatMap((device) => [
      `${device.backend}: ${device.name}${device.software && device.backend === "webgpu" ? " (software: only with --backend webgpu)" : ""}`,
      `  features  ${device.features.join(", ") || "none"}`,
      `  limits    ${
        Object.entries(device.limits)
          .map(([name, value]) => `${name} ${value}`)
          .join(", ") || "none"
      }`,
    ]),
    ...report.notes.map((note) => `not there: ${note}`),
    "",
    `data folder ${report.dataFolder}, ${gibibytes(report.freeDiskBytes)} free`,
    `database    ${report.database.sound ? "sound" : report.database.findings}`,
    "",
  ].join("\n");
}
