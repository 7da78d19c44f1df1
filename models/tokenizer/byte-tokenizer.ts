/**
 * The tokenizer of models that read bytes: the token with id i is the byte i, of text in UTF-8; there are no others.
 * MambaByte (Wang et al. 2024, arXiv:2401.13660 §3) is trained so, and comes without a tokenizer file.
 */
import { spell } from "./byte-alphabet.ts";
import type { TokenizerJson } from "./tokenizer-metadata.ts";

/** Tokens of a vocabulary of bytes. */
export const BYTE_VOCABULARY = 256;

/** In the form of tokenizer.json: byte-level BPE without merges. */
export function byteTokenizer(): TokenizerJson {
  const byteLevel = {
    type: "ByteLevel",
    add_prefix_space: false,
    trim_offsets: false,
    use_regex: false,
  };
  const vocab = Object.fromEntries(
    Array.from({ length: BYTE_VOCABULARY }, (_, byte) => [spell(Uint8Array.of(byte)), byte]),
  );
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges: [],
    },
  };
}
