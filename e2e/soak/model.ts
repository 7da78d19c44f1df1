/** A fixture model that the product can chat with: its weights, and a tokenizer of single characters made to its size. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";

const fixtures = fileURLToPath(new URL("../fixtures/models", import.meta.url));
const SPECIAL = ["<unk>", "<bos>", "<eos>"];

/** The byte's character in the vocabulary of a byte-level tokenizer, as GPT-2 has it. */
function nameOf(byte: number): string {
  const isShown = (one: number): boolean =>
    (one >= 33 && one <= 126) || (one >= 161 && one <= 172) || one >= 174;
  if (isShown(byte)) return String.fromCodePoint(byte);
  const hidden = Array.from({ length: 256 }, (_, one) => one).filter((one) => !isShown(one));
  return String.fromCodePoint(256 + hidden.indexOf(byte));
}

/** Writes the fixture with its tokenizer into `folder`, a folder of models. @returns its path */
export function chatModel(fixture: string, folder: string): string {
  const target = path.join(folder, fixture);
  mkdirSync(target, { recursive: true });
  for (const name of ["config.json", "model.safetensors"])
    copyFileSync(path.join(fixtures, fixture, name), path.join(target, name));
  const config: unknown = JSON.parse(readFileSync(path.join(target, "config.json"), "utf8"));
  const { vocab_size: size } = z.object({ vocab_size: z.number() }).parse(config);
  // A line break and what is printed of ASCII, then bytes that make no text by themselves, as far as there is room.
  const bytes = [10, ...Array.from({ length: 95 }, (_, i) => 32 + i), ...Array(64).keys()].map(
    (byte, index) => (index < 96 ? byte : 128 + byte),
  );
  const tokens = [...SPECIAL, ...bytes.map(nameOf)].slice(0, size);
  const byteLevel = {
    type: "ByteLevel",
    add_prefix_space: false,
    trim_offsets: false,
    use_regex: false,
  };
  writeFileSync(
    path.join(target, "tokenizer.json"),
    JSON.stringify({
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: SPECIAL.map((content, id) => ({
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      })),
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: null,
      decoder: byteLevel,
      model: {
        type: "BPE",
        dropout: null,
        unk_token: "<unk>",
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges: [],
      },
    }),
  );
  return target;
}
