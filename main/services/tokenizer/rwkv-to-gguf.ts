import type { GgufEntries } from "../../../models/convert/gguf-writer.ts";
import { unspell } from "../../../models/tokenizer/byte-alphabet.ts";
import type { ControlToken } from "./tokenizer-json.ts";

/** Token types of ggml. */
const TYPES = { normal: 1, control: 3, unused: 5 } as const;
/** What the author's models are taught to end a turn with; llama.cpp's files name it so. */
const END_OF_TURN = "\\n\\n";

/**
 * The entries of a "world" tokenizer, as llama.cpp's own files have them: tokens as Python writes bytes, 0 as begin and end
 * of a text, padding up to the model's vocabulary.
 * @param vocabulary tokens in the alphabet of byte-alphabet.ts, with their ids
 * @param vocabSize rows of the model's embedding
 */
export function rwkvEntries(
  vocabulary: readonly (readonly [token: string, id: number])[],
  controls: readonly Pick<ControlToken, "id" | "content">[],
  vocabSize: number,
): GgufEntries {
  const tokens: string[] = [];
  const types: number[] = [];
  for (const [token, id] of vocabulary) {
    tokens[id] = escaped(unspell(token) ?? new Uint8Array());
    types[id] = TYPES.normal;
  }
  for (const { id, content } of controls) {
    tokens[id] = content;
    types[id] = TYPES.control;
  }
  const length = Math.max(tokens.length, vocabSize);
  const endOfTurn = tokens.indexOf(END_OF_TURN);
  return [
    ["tokenizer.ggml.model", { type: "string", value: "rwkv" }],
    [
      "tokenizer.ggml.tokens",
      { type: "string[]", value: Array.from({ length }, (_, id) => tokens[id] ?? `[PAD${id}]`) },
    ],
    [
      "tokenizer.ggml.token_type",
      { type: "i32[]", value: Array.from({ length }, (_, id) => types[id] ?? TYPES.unused) },
    ],
    ["tokenizer.ggml.bos_token_id", { type: "u32", value: 0 }],
    ["tokenizer.ggml.eos_token_id", { type: "u32", value: 0 }],
    ...(endOfTurn === -1
      ? []
      : [["tokenizer.ggml.eot_token_id", { type: "u32", value: endOfTurn }] as const]),
  ];
}

const ESCAPES: ReadonlyMap<number, string> = new Map([
  [9, "\\t"],
  [10, "\\n"],
  [13, "\\r"],
  [0x5c, "\\\\"],
]);

function escaped(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => {
    const printable = byte >= 0x20 && byte < 0x7f;
    const hex = `\\x${byte.toString(16).padStart(2, "0")}`;
    return ESCAPES.get(byte) ?? (printable ? String.fromCharCode(byte) : hex);
  }).join("");
}
