import { BPE_SPLITS } from "./bpe-splits.ts";
import {
  addedTokens,
  postProcessor,
  shown,
  strings,
  TokenizerError,
  tokensOf,
  vocabulary,
  type Metadata,
  type TokenizerJson,
} from "./tokenizer-metadata.ts";

/**
 * Byte-level BPE (`tokenizer.ggml.model` "gpt2"): GGUF carries vocabulary and merges; how text is cut up before
 * merging is only named, and has to be known here.
 * @throws TokenizerError
 */
export function ggufBpe(metadata: Metadata): TokenizerJson {
  const pre = metadata.get("tokenizer.ggml.pre") ?? "default";
  const rules = typeof pre === "string" ? BPE_SPLITS.get(pre) : undefined;
  if (rules === undefined) {
    throw new TokenizerError(
      "unsupported",
      "tokenizer.ggml.pre",
      `The GGUF file cuts text by the rules "${shown(pre)}"; Tarn knows ${[...BPE_SPLITS.keys()].join(", ")}.`,
    );
  }
  const tokens = tokensOf(metadata);
  const byteLevel = {
    type: "ByteLevel",
    add_prefix_space: metadata.get("tokenizer.ggml.add_space_prefix") === true,
    trim_offsets: true,
    use_regex: rules.gpt2,
  };
  const steps = [...rules.cuts, byteLevel, ...rules.after];
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(metadata, tokens),
    normalizer: rules.nfc ? { type: "NFC" } : null,
    pre_tokenizer: steps.length === 1 ? byteLevel : { type: "Sequence", pretokenizers: steps },
    post_processor: postProcessor(metadata, tokens, false),
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: rules.ignoreMerges,
      vocab: vocabulary(tokens),
      merges: merges(metadata),
    },
  };
}

function merges(metadata: Metadata): readonly (readonly [string, string])[] {
  return strings(metadata, "tokenizer.ggml.merges").map((merge) => {
    // The byte alphabet has no space, so the first one that is not the first character divides.
    const space = merge.indexOf(" ", 1);
    if (space < 1 || space === merge.length - 1) {
      throw new TokenizerError(
        "malformed",
        "tokenizer.ggml.merges",
        `The merge ${JSON.stringify(merge)} is not two tokens with a space between them.`,
      );
    }
    return [merge.slice(0, space), merge.slice(space + 1)];
  });
}
