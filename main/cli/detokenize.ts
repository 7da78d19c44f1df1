import { loadTokenizer } from "../services/tokenizer/load-tokenizer.ts";
import { readIds } from "./ids.ts";
import { modelPath } from "./model.ts";
import { parse, readCommon, required } from "./options.ts";
import { writeJson, writeResult } from "./output.ts";

export const usage = `Usage: tarn detokenize --model DIR_or_GGUF --ids FILE.json [--skip-special]

The text of the ids, exactly: no line break is added, and special tokens are written out unless --skip-special is
given. With --json, a JSON string.`;

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parse(args, { ids: { type: "string" }, "skip-special": { type: "boolean" } });
  const common = readCommon(values);
  const model = await modelPath(common);
  const ids = await readIds(required("--ids", values.ids));
  const { tokenizer } = await loadTokenizer(model);
  const text = await tokenizer.decode([...ids], { skipSpecial: values["skip-special"] === true });
  if (common.json) writeJson(text);
  else writeResult(text);
}
