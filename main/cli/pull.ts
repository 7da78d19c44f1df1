import path from "node:path";
import { prepareDataFolder } from "../services/data-folder.ts";
import { createHubClient } from "../services/hub/hub-client.ts";
import { chooseFiles, pull } from "../services/hub/pull.ts";
import { readHubName } from "./hub-name.ts";
import { integer, parse, readCommon, UsageError } from "./options.ts";
import { note, writeJson, writeResult } from "./output.ts";

export const usage = `Usage: tarn pull OWNER/NAME[@REVISION][:PART] [--to DIR] [--list]
       tarn pull --search TEXT [--limit N]

Fetches a model's safetensors and configuration, or the GGUF file that PART (such as Q4_K_M) names, into the data
folder. A download that was stopped goes on where it was; every file is checked against its hash.
HF_TOKEN is sent where it is set, HF_ENDPOINT names another hub.`;

export async function run(args: readonly string[]): Promise<void> {
  const { values, positionals } = parse(args, {
    to: { type: "string" },
    list: { type: "boolean" },
    search: { type: "string" },
    limit: { type: "string" },
  });
  const common = readCommon(values);
  const client = createHubClient(process.env);
  if (values.search !== undefined) {
    const limit = values.limit === undefined ? 20 : integer("--limit", values.limit, 1, 500);
    const models = await client.search(values.search, limit);
    if (common.json) writeJson(models);
    else writeResult(models.map(({ name, downloads }) => `${name}  ${downloads}\n`).join(""));
    return;
  }

  const [asked, more] = positionals;
  const hub = asked === undefined ? null : readHubName(`hf:${asked.replace(/^hf:/, "")}`);
  if (asked === undefined || hub === null || more !== undefined)
    throw new UsageError("Give one model of the hub, as OWNER/NAME.");
  const found = await client.files(hub.name, hub.revision);
  if (values.list === true) {
    const files = found.files.map(({ path: file, bytes }) => ({ file, bytes }));
    if (common.json) writeJson({ name: found.name, commit: found.commit, files });
    else writeResult(files.map(({ file, bytes }) => `${file}  ${bytes}\n`).join(""));
    return;
  }
  const files = chooseFiles(found, hub.part);
  const folder = path.resolve(
    values.to ?? path.join(prepareDataFolder(common.data), "models", hub.name.replace("/", "--")),
  );
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort());
  let told = 0;
  await pull(client, files, folder, {
    signal: stop.signal,
    onProgress({ file, done, bytes }) {
      if (Date.now() - told < 1000 && done < bytes) return;
      told = Date.now();
      note(`${file}: ${done} of ${bytes} bytes`);
    },
  });
  const result = {
    name: found.name,
    commit: found.commit,
    folder,
    files: files.map((file) => file.path),
  };
  if (common.json) writeJson(result);
  else note(`Fetched ${found.name} at ${found.commit.slice(0, 8)} to ${folder}.`);
}
