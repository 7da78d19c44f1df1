/** The two models of SentencePiece as GGUF carries them: pieces with scores, spaces written as ▁. */
import {
  addedTokens,
  postProcessor,
  scoresOf,
  TokenizerError,
  tokensOf,
  unknownToken,
  vocabulary,
  type Metadata,
  type TokenizerJson,
  type Value,
} from "./tokenizer-metadata.ts";

/** U+2581, SentencePiece's space. */
const SPACE = "▁";
/** Longer pieces are whole lines that no two shorter ones make up. */
const MAX_MERGED_CHARACTERS = 128;

/**
 * BPE by scores (`tokenizer.ggml.model` "llama"): of two neighbours whose union is a piece, those with the best score are
 * merged first. A table of merges in the order of the scores does the same.
 * Source: Kudo & Richardson 2018 (arXiv:1808.06226) §3.1.
 * @throws TokenizerError
 */
export function ggufSentencePieceBpe(metadata: Metadata): TokenizerJson {
  const tokens = tokensOf(metadata);
  const vocab = vocabulary(tokens);
  const prefix = metadata.get("tokenizer.ggml.add_space_prefix") !== false;
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(metadata, tokens),
    normalizer: {
      type: "Sequence",
      normalizers: [
        ...(prefix ? [{ type: "Prepend", prepend: SPACE }] : []),
        { type: "Replace", pattern: { String: " " }, content: SPACE },
      ],
    },
    pre_tokenizer: null,
    post_processor: postProcessor(metadata, tokens, true),
    decoder: decoder(prefix),
    model: {
      type: "BPE",
      dropout: null,
      unk_token: unknownToken(metadata, tokens)?.content ?? null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab,
      merges: mergesByScore(tokens, vocab, scoresOf(metadata, tokens)),
    },
  };
}

/**
 * Unigram (`tokenizer.ggml.model` "t5"): of all ways to write a text as pieces, the one with the largest sum of scores.
 * Source: Kudo 2018 (arXiv:1804.10959) §3.2.
 * @throws TokenizerError
 */
export function ggufUnigram(metadata: Metadata): TokenizerJson {
  const tokens = tokensOf(metadata);
  const scores = scoresOf(metadata, tokens);
  const unknown = unknownToken(metadata, tokens);
  const prefix = metadata.get("tokenizer.ggml.add_space_prefix") !== false;
  const normalizers = [
    ...characterMap(metadata),
    ...(metadata.get("tokenizer.ggml.remove_extra_whitespaces") === false
      ? []
      : [{ type: "Replace", pattern: { Regex: " {2,}" }, content: " " }]),
  ];
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(metadata, tokens),
    normalizer: normalizers.length === 0 ? null : { type: "Sequence", normalizers },
    pre_tokenizer: {
      type: "Metaspace",
      replacement: SPACE,
      prepend_scheme: prefix ? "always" : "never",
      split: true,
    },
    post_processor: postProcessor(metadata, tokens, false),
    decoder: decoder(prefix),
    model: {
      type: "Unigram",
      unk_id: unknown?.id ?? null,
      vocab: tokens.map((token, id) => [token, scores[id] ?? 0]),
      byte_fallback: tokens.includes("<0x00>"),
    },
  };
}

function decoder(prefix: boolean): object {
  return {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: SPACE }, content: " " },
      { type: "ByteFallback" },
      { type: "Fuse" },
      ...(prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
    ],
  };
}

function mergesByScore(
  tokens: readonly string[],
  vocab: Readonly<Record<string, number>>,
  scores: readonly number[],
): readonly (readonly [string, string])[] {
  const merges: { readonly pair: readonly [string, string]; readonly score: number }[] = [];
  tokens.forEach((token, id) => {
    // By code points, as SentencePiece counts: every cut between two is tried.
    const characters = Array.from(token);
    if (characters.length > MAX_MERGED_CHARACTERS) return;
    let left = "";
    const pairs: (readonly [string, string])[] = [];
    for (const character of characters.slice(0, -1)) {
      left += character;
      const right = token.slice(left.length);
      if (left in vocab && right in vocab) pairs.push([left, right]);
    }
    pairs.sort(
      ([a, b], [c, d]) => (vocab[a] ?? 0) - (vocab[c] ?? 0) || (vocab[b] ?? 0) - (vocab[d] ?? 0),
    );
    for (const pair of pairs) merges.push({ pair, score: scores[id] ?? 0 });
  });
  return merges.toSorted((a, b) => b.score - a.score).map(({ pair }) => pair);
}

/** SentencePiece's compiled table of replacements, as bytes in GGUF and as base64 in tokenizer.json. */
function characterMap(metadata: Metadata): readonly object[] {
  const key = "tokenizer.ggml.precompiled_charsmap";
  const value = metadata.get(key);
  if (value === undefined) return [];
  if (!Array.isArray(value) || !value.every(isByte)) {
    throw new TokenizerError("malformed", key, `The GGUF file has no list of bytes under ${key}.`);
  }
  if (value.length === 0) return [];
  let text = "";
  for (const byte of value) text += String.fromCharCode(byte & 255);
  return [{ type: "Precompiled", precompiled_charsmap: btoa(text) }];
}

function isByte(value: Value): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= -128 && value <= 255;
}
