/** The golden tokenizers told as GGUF tells them: the same ids must come out as from their tokenizer.json. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { z } from "zod";
import { BPE_SPLITS } from "../../../models/tokenizer/bpe-splits.ts";
import { ggufTokenizer } from "../../../models/tokenizer/gguf-tokenizer.ts";
import { tokenizerEntries } from "./to-gguf.ts";
import { createTokenizer } from "./create-tokenizer.ts";

const goldenSchema = z.object({
  cases: z.array(
    z.object({
      text: z.string(),
      ids: z.array(z.number()),
      ids_no_special: z.array(z.number()),
      decoded: z.string(),
      decoded_skip_special: z.string(),
    }),
  ),
});
const addedSchema = z.array(
  z.object({ id: z.number(), content: z.string(), special: z.boolean() }),
);
const bpeSchema = z.object({
  model: z.object({
    vocab: z.record(z.string(), z.number()),
    merges: z.array(z.tuple([z.string(), z.string()])),
  }),
  added_tokens: addedSchema,
});
const unigramSchema = z.object({
  model: z.object({ vocab: z.array(z.tuple([z.string(), z.number()])) }),
  added_tokens: addedSchema,
});

type Entries = Map<string, string | number | boolean | readonly string[] | readonly number[]>;
const CONTROL = 3;
const USER_DEFINED = 4;

function read(kind: string, file: string): unknown {
  const url = new URL(`../../../e2e/fixtures/tokenizers/${kind}/${file}`, import.meta.url);
  return JSON.parse(readFileSync(url, "utf8"));
}

/** Tokens by id and their types. */
function listed(
  vocab: Readonly<Record<string, number>>,
  added: z.infer<typeof addedSchema>,
): Entries {
  const tokens: string[] = [];
  for (const [token, id] of Object.entries(vocab)) tokens[id] = token;
  for (const { id, content } of added) tokens[id] = content;
  const types = tokens.map((_, id) => {
    const token = added.find((one) => one.id === id);
    return token === undefined ? 1 : token.special ? CONTROL : USER_DEFINED;
  });
  return new Map<string, string[] | number[]>([
    ["tokenizer.ggml.tokens", tokens],
    ["tokenizer.ggml.token_type", types],
  ]);
}

function byteLevel(kind: string, pre: string, more: Entries): Entries {
  const { model, added_tokens } = bpeSchema.parse(read(kind, "tokenizer.json"));
  return new Map([
    ...listed(model.vocab, added_tokens),
    ["tokenizer.ggml.model", "gpt2"],
    ["tokenizer.ggml.pre", pre],
    ["tokenizer.ggml.merges", model.merges.map((pair) => pair.join(" "))],
    ...more,
  ]);
}

/** What a SentencePiece file would hold: no merges, but scores in their order. */
function scored(kind: string): Entries {
  const { model, added_tokens } = bpeSchema.parse(read(kind, "tokenizer.json"));
  const rank = new Map<string, number>();
  model.merges.forEach((pair, index) => {
    const piece = pair.join("");
    rank.set(piece, rank.get(piece) ?? index);
  });
  const entries = listed(model.vocab, added_tokens);
  const tokens = Object.entries(model.vocab).toSorted(([, a], [, b]) => a - b);
  return new Map([
    ...entries,
    ["tokenizer.ggml.model", "llama"],
    ["tokenizer.ggml.scores", tokens.map(([token]) => -(rank.get(token) ?? 1e6))],
    ["tokenizer.ggml.bos_token_id", 1],
    ["tokenizer.ggml.unknown_token_id", 0],
  ]);
}

function unigram(kind: string): Entries {
  const { model, added_tokens } = unigramSchema.parse(read(kind, "tokenizer.json"));
  const vocab = Object.fromEntries(model.vocab.map(([token], id) => [token, id]));
  return new Map([
    ...listed(vocab, added_tokens),
    ["tokenizer.ggml.model", "t5"],
    ["tokenizer.ggml.scores", model.vocab.map(([, score]) => score)],
    ["tokenizer.ggml.add_bos_token", true],
    ["tokenizer.ggml.bos_token_id", 1],
    ["tokenizer.ggml.unknown_token_id", 0],
  ]);
}

it.each([
  {
    kind: "llama3_bytelevel_bpe",
    entries: byteLevel(
      "llama3_bytelevel_bpe",
      "llama-bpe",
      new Map<string, number | boolean>([
        ["tokenizer.ggml.add_bos_token", true],
        ["tokenizer.ggml.bos_token_id", 1000],
      ]),
    ),
    // Its tokens are the same, and nothing of its normaliser is lost.
    normalised: false,
  },
  {
    kind: "llama_bpe_bytefallback",
    entries: scored("llama_bpe_bytefallback"),
    normalised: false,
  },
  // GGUF carries NFKC as a compiled table, which this tokenizer does not have: texts that it changes are left out.
  { kind: "unigram_metaspace", entries: unigram("unigram_metaspace"), normalised: true },
])("gives $kind's golden ids from metadata", async ({ kind, entries, normalised }) => {
  const tokenizer = createTokenizer(JSON.stringify(ggufTokenizer(entries)), null);
  const { cases } = goldenSchema.parse(read(kind, "golden.json"));
  const judged = cases.filter(({ text }) => !normalised || text.normalize("NFKC") === text);
  expect(judged.length).toBeGreaterThan(40);
  for (const { text, ids, ids_no_special, decoded, decoded_skip_special } of judged) {
    expect([...(await tokenizer.encode(text, { special: true }))], text).toEqual(ids);
    expect([...(await tokenizer.encode(text, { special: false }))], text).toEqual(ids_no_special);
    expect(await tokenizer.decode(ids, { skipSpecial: false }), text).toBe(decoded);
    expect(await tokenizer.decode(ids, { skipSpecial: true }), text).toBe(decoded_skip_special);
  }
});

// The library refuses an expression that it cannot read only when text meets it.
it.each([...BPE_SPLITS.keys()])("cuts text by the rules %s, and loses nothing", async (pre) => {
  const entries = byteLevel("llama3_bytelevel_bpe", pre, new Map());
  const tokenizer = createTokenizer(JSON.stringify(ggufTokenizer(entries)), null);
  const text = "Don't stop: 1234567 Äpfel,\n\n  日本語のテキスト…  don’t `x == y`\t🙂 été  ";
  const ids = await tokenizer.encode(text, { special: false });
  expect(await tokenizer.decode(ids, { skipSpecial: false })).toBe(text);
});

it.each(["neox_bytelevel_bpe", "llama3_bytelevel_bpe", "llama_bpe_bytefallback"])(
  "writes %s as metadata that gives its golden ids",
  async (kind) => {
    const json = JSON.stringify(read(kind, "tokenizer.json"));
    const bos =
      { neox_bytelevel_bpe: "", llama3_bytelevel_bpe: "<|begin_of_text|>" }[kind] ?? "<s>";
    const written = tokenizerEntries({ json, template: "{{ messages }}", bos, eos: "</s>" });
    const entries = new Map(written.map(([key, { value }]) => [key, value]));
    expect(entries.get("tokenizer.chat_template")).toBe("{{ messages }}");
    const tokenizer = createTokenizer(JSON.stringify(ggufTokenizer(entries)), null);
    for (const { text, ids } of goldenSchema.parse(read(kind, "golden.json")).cases) {
      expect([...(await tokenizer.encode(text, { special: true }))], text).toEqual(ids);
    }
  },
);

it.each(["neox_bytelevel_bpe", "llama_bpe_bytefallback"])(
  "gives every row of the embedding a token: %s",
  async (kind) => {
    const json = JSON.stringify(read(kind, "tokenizer.json"));
    const files = { json, template: null, bos: "", eos: "" };
    const { cases } = goldenSchema.parse(read(kind, "golden.json"));
    const lengthOf = (key: string, vocabSize: number): number => {
      const value = new Map(tokenizerEntries(files, vocabSize)).get(key)?.value;
      return Array.isArray(value) ? value.length : 0;
    };
    const count = lengthOf("tokenizer.ggml.tokens", 0);
    const rows = count + 24;
    expect(lengthOf("tokenizer.ggml.tokens", count - 1)).toBe(count);
    expect(lengthOf("tokenizer.ggml.tokens", rows)).toBe(rows);
    expect(lengthOf("tokenizer.ggml.token_type", rows)).toBe(rows);
    const written = tokenizerEntries(files, rows);
    const entries = new Map(written.map(([key, { value }]) => [key, value]));
    const tokenizer = createTokenizer(JSON.stringify(ggufTokenizer(entries)), null);
    for (const { text, ids_no_special } of cases) {
      expect([...(await tokenizer.encode(text, { special: false }))], text).toEqual(ids_no_special);
    }
    // Padding has a name, which no text can use.
    const padding = await tokenizer.encode(`[PAD${rows - 1}]`, { special: false });
    expect(padding).not.toContain(rows - 1);
  },
);

it("refuses a tokenizer that GGUF has no words for", () => {
  const json = JSON.stringify(read("unigram_metaspace", "tokenizer.json"));
  const text = { json, template: null, bos: "", eos: "" };
  expect(() => tokenizerEntries(text)).toThrow(/NFKC/);
  expect(tokenizerEntries(null)).toEqual([
    ["tokenizer.ggml.model", { type: "string", value: "no_vocab" }],
  ]);
});
