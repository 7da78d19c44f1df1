/** tokenizer.json → the metadata `tokenizer.*` of a GGUF file, under llama.cpp's names. */
import { z } from "zod";
import type { GgufEntries, GgufTyped } from "../../../models/convert/gguf-writer.ts";
import { BPE_SPLITS } from "../../../models/tokenizer/bpe-splits.ts";
import { TarnError } from "../../contract/errors.ts";
import type { TokenizerFiles } from "./load-tokenizer.ts";
import { rwkvEntries } from "./rwkv-to-gguf.ts";
import { controlTokens, rwkvVocabulary, tokenizerJsonSchema } from "./tokenizer-json.ts";

const stepSchema = z.looseObject({ type: z.string() });
const sequenceOf = <Key extends string>(
  key: Key,
): z.ZodType<readonly z.infer<typeof stepSchema>[]> =>
  z.preprocess(
    // One step, or a sequence of them under its own name.
    (value) =>
      typeof value === "object" && value !== null && key in value
        ? (value as Readonly<Record<Key, unknown>>)[key]
        : value === null
          ? []
          : [value],
    z.array(stepSchema),
  );
const mergeSchema = z.union([
  z.tuple([z.string(), z.string()]),
  z.string().transform((text): [string, string] => {
    const space = text.indexOf(" ", 1);
    return [text.slice(0, space), text.slice(space + 1)];
  }),
]);
const schema = z.looseObject({
  added_tokens: z.array(z.looseObject({ id: z.int(), content: z.string(), special: z.boolean() })),
  normalizer: sequenceOf("normalizers"),
  pre_tokenizer: sequenceOf("pretokenizers"),
  post_processor: sequenceOf("processors"),
  model: z.union([
    z.looseObject({
      type: z.literal("BPE").optional(),
      vocab: z.record(z.string(), z.int()),
      merges: z.array(mergeSchema),
      unk_token: z.string().nullish(),
      byte_fallback: z.boolean().nullish(),
      ignore_merges: z.boolean().nullish(),
    }),
    z.looseObject({
      type: z.literal("Unigram"),
      unk_id: z.int().nullish(),
      vocab: z.array(z.tuple([z.string(), z.number()])),
    }),
  ]),
});
type Parsed = z.infer<typeof schema>;

/** Token types of ggml. */
const TYPES = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/**
 * The entries of a tokenizer; `null` for a model without one, which then works on token ids only.
 * @param vocabSize rows of the model's embedding
 * @throws TarnError `no-tokenizer` where GGUF has no words for it
 */
export function tokenizerEntries(tokenizer: TokenizerFiles | null, vocabSize = 0): GgufEntries {
  if (tokenizer === null) return [["tokenizer.ggml.model", { type: "string", value: "no_vocab" }]];
  const json: unknown = JSON.parse(tokenizer.json);
  const { data: known } = tokenizerJsonSchema.safeParse(json);
  const rwkv = known === undefined ? null : rwkvVocabulary(known);
  if (known !== undefined && rwkv !== null) {
    return [
      ...rwkvEntries(rwkv, controlTokens(known, null), vocabSize),
      ...templateEntries(tokenizer),
    ];
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success)
    throw refusal("its tokenizer.json has an unknown form", { cause: parsed.error.message });
  const { data } = parsed;
  const tokens = tokensOf(data, vocabSize);
  const idOf = (content: string): number | null => {
    const id = content === "" ? -1 : tokens.indexOf(content);
    return id === -1 ? null : id;
  };
  const ids: [string, number | null][] = [
    ["tokenizer.ggml.bos_token_id", idOf(tokenizer.bos)],
    ["tokenizer.ggml.eos_token_id", idOf(tokenizer.eos)],
    ["tokenizer.ggml.unknown_token_id", unknownId(data, tokens)],
  ];
  return [
    ...modelEntries(data, tokens),
    ["tokenizer.ggml.tokens", { type: "string[]", value: tokens }],
    ["tokenizer.ggml.token_type", { type: "i32[]", value: typesOf(data, tokens) }],
    ...ids.flatMap(([key, value]): [string, GgufTyped][] =>
      value === null ? [] : [[key, { type: "u32", value }]],
    ),
    ["tokenizer.ggml.add_bos_token", { type: "bool", value: begins(data, tokenizer.bos) }],
    ...templateEntries(tokenizer),
  ];
}

function templateEntries({ template }: TokenizerFiles): GgufEntries {
  return template === null
    ? []
    : [["tokenizer.chat_template", { type: "string", value: template }]];
}

function modelEntries(data: Parsed, tokens: readonly string[]): GgufEntries {
  const { model } = data;
  if (model.type === "Unigram") {
    const foreign = data.normalizer.filter(
      ({ type }) => !["Precompiled", "Replace"].includes(type),
    );
    const [first] = foreign;
    if (first !== undefined)
      throw refusal(`it changes texts by ${first.type} before it cuts them`, {});
    const table = data.normalizer.find(({ type }) => type === "Precompiled")?.[
      "precompiled_charsmap"
    ];
    // Padding is as unlikely as the rarest piece; llama.cpp does not look at its score.
    const lowest = model.vocab.reduce((least, [, score]) => Math.min(least, score), 0);
    const scores = tokens.map((_, id) => model.vocab[id]?.[1] ?? lowest);
    return [
      ["tokenizer.ggml.model", { type: "string", value: "t5" }],
      ["tokenizer.ggml.scores", { type: "f32[]", value: scores }],
      ...(typeof table === "string"
        ? [
            [
              "tokenizer.ggml.precompiled_charsmap",
              { type: "u8[]", value: [...Buffer.from(table, "base64")] },
            ] satisfies [string, GgufTyped],
          ]
        : []),
    ];
  }
  if (data.pre_tokenizer.some(({ type }) => type === "ByteLevel")) {
    return [
      ["tokenizer.ggml.model", { type: "string", value: "gpt2" }],
      ["tokenizer.ggml.pre", { type: "string", value: splitName(data) }],
      [
        "tokenizer.ggml.merges",
        { type: "string[]", value: model.merges.map((pair) => pair.join(" ")) },
      ],
    ];
  }
  if (model.byte_fallback !== true)
    throw refusal("it is neither of bytes nor falls back to them", {});
  const prefix = data.normalizer.some(({ type }) => type === "Prepend");
  return [
    ["tokenizer.ggml.model", { type: "string", value: "llama" }],
    ["tokenizer.ggml.scores", { type: "f32[]", value: scoresByMerge(model.merges, tokens) }],
    ["tokenizer.ggml.add_space_prefix", { type: "bool", value: prefix }],
  ];
}

/** Pieces in the order in which merges make them; those that no merge makes come last. */
function scoresByMerge(
  merges: readonly (readonly [string, string])[],
  tokens: readonly string[],
): number[] {
  const rank = new Map<string, number>();
  merges.forEach((pair, index) => {
    const piece = pair.join("");
    if (!rank.has(piece)) rank.set(piece, index);
  });
  return tokens.map((token) => -(rank.get(token) ?? merges.length));
}

/** The name of the rules that cut texts as this tokenizer does. */
function splitName({ pre_tokenizer, normalizer, model }: Parsed): string {
  const nfc = normalizer.some(({ type }) => type === "NFC");
  const own = JSON.stringify(pre_tokenizer.map(essence));
  const ignoreMerges = model.type !== "Unigram" && model.ignore_merges === true;
  for (const [name, rules] of BPE_SPLITS) {
    const steps = [
      ...rules.cuts,
      { type: "ByteLevel", add_prefix_space: false, use_regex: rules.gpt2 },
      ...rules.after,
    ];
    if (
      name !== "default" &&
      rules.nfc === nfc &&
      rules.ignoreMerges === ignoreMerges &&
      JSON.stringify(steps.map(essence)) === own
    )
      return name;
  }
  throw refusal("llama.cpp has no name for the way in which it cuts texts", { steps: own });
}

/** What of a step decides where it cuts. */
function essence(step: object): object {
  const { type, pattern, individual_digits, use_regex }: Readonly<Record<string, unknown>> = {
    ...step,
  };
  return type === "ByteLevel"
    ? { type, use_regex: use_regex !== false }
    : { type, pattern, individual_digits };
}

function tokensOf({ model, added_tokens }: Parsed, vocabSize: number): readonly string[] {
  const tokens: string[] = [];
  if (model.type === "Unigram") model.vocab.forEach(([token], id) => (tokens[id] = token));
  else for (const [token, id] of Object.entries(model.vocab)) tokens[id] = token;
  for (const { id, content } of added_tokens) tokens[id] = content;
  // Ids without a token: embeddings often have more rows than there are tokens, and llama.cpp wants a token for each.
  const length = Math.max(tokens.length, vocabSize);
  return Array.from({ length }, (_, id) => tokens[id] ?? `[PAD${id}]`);
}

function typesOf(data: Parsed, tokens: readonly string[]): readonly number[] {
  const types: number[] = tokens.map((token) =>
    /^<0x[0-9A-F]{2}>$/.test(token)
      ? TYPES.byte
      : /^\[PAD\d+\]$/.test(token)
        ? TYPES.unused
        : TYPES.normal,
  );
  for (const { id, special } of data.added_tokens)
    types[id] = special ? TYPES.control : TYPES.userDefined;
  const unknown = unknownId(data, tokens);
  if (unknown !== null) types[unknown] = TYPES.unknown;
  return types;
}

function unknownId({ model }: Parsed, tokens: readonly string[]): number | null {
  if (model.type === "Unigram") return model.unk_id ?? null;
  const id = tokens.indexOf(model.unk_token ?? "");
  return id === -1 ? null : id;
}

/** Whether texts get the begin token in front. */
function begins({ post_processor }: Parsed, bos: string): boolean {
  return (
    bos !== "" && JSON.stringify(post_processor).includes(JSON.stringify({ id: bos, type_id: 0 }))
  );
}

function refusal(reason: string, data: Readonly<Record<string, string>>): TarnError {
  return new TarnError(
    "no-tokenizer",
    `The model's tokenizer cannot be written as GGUF: ${reason}. With --no-tokenizer the file is written without it.`,
    data,
  );
}
