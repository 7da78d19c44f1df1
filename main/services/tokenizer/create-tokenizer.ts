import { createHash } from "node:crypto";
import { Tokenizer as NativeTokenizer } from "@anush008/tokenizers";
import { TarnError } from "../../contract/errors.ts";
import { createRwkvTokenizer } from "./rwkv-tokenizer.ts";
import {
  controlTokens,
  dependsOnPosition,
  rwkvVocabulary,
  tokenizerJsonSchema,
  withoutControls,
  type TokenizerJson,
} from "./tokenizer-json.ts";
import type { Tokenizer } from "./tokenizer.ts";

/**
 * Makes a tokenizer from the text of a tokenizer.json.
 * @param template the chat template's source: added tokens that it uses count as control tokens
 * @throws TarnError `no-tokenizer` if the text is none
 */
export function createTokenizer(text: string, template: string | null): Tokenizer {
  const json = parse(text);
  const hash = createHash("sha256").update(text).digest("hex");
  const controls = controlTokens(json, template);
  const rwkv = rwkvVocabulary(json);
  if (rwkv !== null) return createRwkvTokenizer({ hash, vocabulary: rwkv, controls });
  const native = build(text);
  // Built on first use: `tokenize` and `detokenize` never need them.
  const plain = { first: null as NativeTokenizer | null, rest: null as NativeTokenizer | null };
  function plainTokenizer(first: boolean): NativeTokenizer {
    const key = first || !dependsOnPosition(json) ? "first" : "rest";
    plain[key] ??= build(JSON.stringify(withoutControls(json, controls, key === "first")));
    return plain[key];
  }
  return {
    hash,
    vocabSize: native.getVocabSize(true),
    controls,
    endIds: [],
    async encode(input, { special }) {
      return encodeWith(native, input, special);
    },
    async encodeText(input, { first }) {
      return input === "" ? new Int32Array(0) : encodeWith(plainTokenizer(first), input, false);
    },
    async decode(ids, { skipSpecial }) {
      // The library reads ids as unsigned; a negative one would wrap round.
      return native.decode(
        Array.from(ids).filter((id) => id >= 0),
        skipSpecial,
      );
    },
    specialId: (content) => native.tokenToId(content),
    token: (id) => (id >= 0 ? native.idToToken(id) : null),
  };
}

async function encodeWith(
  native: NativeTokenizer,
  text: string,
  special: boolean,
): Promise<Int32Array> {
  try {
    const encoding = await native.encode(text, null, { addSpecialTokens: special });
    return Int32Array.from(encoding.getIds());
  } catch (error) {
    // A vocabulary without a token for what it does not know.
    throw broken(error instanceof Error ? error.message : String(error), error);
  }
}

function parse(text: string): TokenizerJson {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw broken("it is not JSON", error);
  }
  const parsed = tokenizerJsonSchema.safeParse(json);
  if (!parsed.success)
    throw broken(parsed.error.issues[0]?.message ?? "its form is unknown", parsed.error);
  return parsed.data;
}

function build(text: string): NativeTokenizer {
  try {
    const native = NativeTokenizer.fromString(text);
    // A tokenizer.json may carry the settings of its last training run; whole texts are wanted, neither cut nor filled up.
    native.disableTruncation();
    native.disablePadding();
    return native;
  } catch (error) {
    throw broken(error instanceof Error ? error.message : String(error), error);
  }
}

function broken(reason: string, cause: unknown): TarnError {
  return new TarnError(
    "no-tokenizer",
    `The model's tokenizer cannot be used: ${reason}. The model still works on token ids.`,
    {},
    cause,
  );
}
