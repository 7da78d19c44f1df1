import { readFile } from "node:fs/promises";
import { TarnError } from "../contract/errors.ts";
import { loadTokenizer } from "../services/tokenizer/load-tokenizer.ts";
import { modelPath } from "./model.ts";
import { parse, readCommon, required } from "./options.ts";
import { writeJson } from "./output.ts";

export const usage = `Usage: tarn tokenize --model DIR_or_GGUF --text FILE [--no-special]

The token ids of the file's text, as JSON, as the model's authors encode: control tokens that are written out become
those tokens, and what the tokenizer puts around a text (a begin token) is added unless --no-special is given.`;

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parse(args, { text: { type: "string" }, "no-special": { type: "boolean" } });
  const model = await modelPath(readCommon(values));
  const text = await readText(required("--text", values.text));
  const { tokenizer } = await loadTokenizer(model);
  writeJson([...(await tokenizer.encode(text, { special: values["no-special"] !== true }))]);
}

/** Exact: bytes that are no UTF-8 are refused rather than replaced. */
async function readText(file: string): Promise<string> {
  const bytes = await readFile(file).catch((error: unknown) => {
    throw new TarnError(
      "not-found",
      `${file} could not be read: ${error instanceof Error ? error.message : String(error)}`,
      { file },
    );
  });
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new TarnError("bad-request", `${file} is not UTF-8 text.`, { file });
  }
}
