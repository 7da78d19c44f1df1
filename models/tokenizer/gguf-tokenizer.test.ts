import { describe, expect, it } from "vitest";
import { ggufTokenizer } from "./gguf-tokenizer.ts";
import { TokenizerError } from "./tokenizer-metadata.ts";

const metadata: readonly (readonly [
  string,
  string | boolean | number | readonly string[] | readonly number[],
])[] = [
  ["tokenizer.ggml.model", "gpt2"],
  ["tokenizer.ggml.pre", "gpt-2"],
  ["tokenizer.ggml.tokens", ["<|end|>", "a", "b", "ab", "[tool]"]],
  ["tokenizer.ggml.token_type", [3, 1, 1, 1, 4]],
  ["tokenizer.ggml.merges", ["a b"]],
];

const build = (...changes: typeof metadata): ReturnType<typeof ggufTokenizer> =>
  ggufTokenizer(new Map([...metadata, ...changes]));

// That the default model's file gives golden ids is tested where the tokenizer library is: main/services/tokenizer.
describe("ggufTokenizer", () => {
  it("carries vocabulary, merges and added tokens over", () => {
    expect(build()).toMatchObject({
      added_tokens: [
        { id: 0, content: "<|end|>", special: true },
        { id: 4, content: "[tool]", special: false },
      ],
      normalizer: null,
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
      post_processor: null,
      decoder: { type: "ByteLevel" },
      model: {
        type: "BPE",
        ignore_merges: false,
        vocab: { "<|end|>": 0, a: 1, b: 2, ab: 3, "[tool]": 4 },
        merges: [["a", "b"]],
      },
    });
  });

  it("puts the begin token in front where the file asks for it", () => {
    const json = build(["tokenizer.ggml.add_bos_token", true], ["tokenizer.ggml.bos_token_id", 0]);
    expect(json.post_processor).toMatchObject({
      type: "TemplateProcessing",
      special_tokens: { "<|end|>": { ids: [0] } },
    });
  });

  it("cuts text by the named rules", () => {
    expect(build(["tokenizer.ggml.pre", "llama-bpe"])).toMatchObject({
      pre_tokenizer: { type: "Sequence" },
      model: { ignore_merges: true },
    });
    expect(build(["tokenizer.ggml.pre", "qwen2"])).toMatchObject({
      normalizer: { type: "NFC" },
      model: { ignore_merges: false },
    });
  });

  it.each<[string, (typeof metadata)[number], Partial<TokenizerError>]>([
    [
      "has another kind",
      ["tokenizer.ggml.model", "bert"],
      { code: "unsupported", key: "tokenizer.ggml.model" },
    ],
    ["has none", ["tokenizer.ggml.model", "no_vocab"], { code: "missing" }],
    [
      "cuts text by unknown rules",
      ["tokenizer.ggml.pre", "somebody"],
      { code: "unsupported", key: "tokenizer.ggml.pre" },
    ],
    ["has no tokens", ["tokenizer.ggml.tokens", []], { code: "malformed" }],
    ["has tokens that are numbers", ["tokenizer.ggml.tokens", [1]], { code: "malformed" }],
    [
      "has a token twice",
      ["tokenizer.ggml.tokens", ["a", "a", "b", "c", "d"]],
      { code: "malformed" },
    ],
    ["has types for fewer tokens", ["tokenizer.ggml.token_type", [1]], { code: "malformed" }],
    ["has a merge of one token", ["tokenizer.ggml.merges", ["ab"]], { code: "malformed" }],
    [
      "asks for a begin token that it does not have",
      ["tokenizer.ggml.add_bos_token", true],
      { code: "malformed" },
    ],
  ])("refuses metadata that %s", (_, change, expected) => {
    let error: unknown = null;
    try {
      build(change);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(TokenizerError);
    expect(error).toMatchObject(expected);
  });
});
