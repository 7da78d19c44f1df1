/** The parts of tokenizer.json that Tarn itself looks at; the native library reads the rest. */
import { randomUUID } from "node:crypto";
import { z } from "zod";

const addedTokenSchema = z.looseObject({
  id: z.number().int().min(0),
  content: z.string().min(1),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  special: z.boolean().default(false),
});

const vocabulary = z.record(z.string(), z.number().int().min(0));
const rwkvSchema = z.looseObject({
  type: z.literal("RWKV"),
  vocab: z.array(z.tuple([z.string(), z.number().int().min(0)])),
});
const modelSchema = z.union([
  rwkvSchema,
  z.looseObject({ type: z.literal("Unigram"), vocab: z.array(z.tuple([z.string(), z.number()])) }),
  z.looseObject({
    type: z.enum(["BPE", "WordPiece", "WordLevel"]).optional(),
    vocab: vocabulary,
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])).optional(),
    unk_token: z.string().nullish(),
    continuing_subword_prefix: z.string().nullish(),
  }),
]);
type Model = z.infer<typeof modelSchema>;
type Merge = string | readonly [string, string];

export const tokenizerJsonSchema = z.looseObject({
  added_tokens: z.array(addedTokenSchema).default([]),
  pre_tokenizer: z.unknown(),
  post_processor: z
    .unknown()
    .refine(templatesAreComplete, "a post-processor's template uses tokens that it does not list"),
  model: modelSchema.refine(mergesFitPrefix, "the merges do not fit continuing_subword_prefix"),
});
export type TokenizerJson = z.infer<typeof tokenizerJsonSchema>;

/**
 * The vocabulary of a tokenizer that takes the longest token that fits; null for those of the library. "RWKV" is no type of the
 * library's: models/tokenizer/rwkv-tokenizer.ts writes it.
 */
export function rwkvVocabulary({
  model,
}: TokenizerJson): readonly (readonly [token: string, id: number])[] | null {
  const rwkv = rwkvSchema.safeParse(model);
  return rwkv.success ? rwkv.data.vocab : null;
}

/** A token that structures a conversation and that no text may produce by itself. */
export interface ControlToken {
  readonly id: number;
  readonly content: string;
  /** Left out by decoding with `skipSpecial`. */
  readonly special: boolean;
  /** Swallows white space on that side of it in the text. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

/** The tokens marked special, and added tokens that the chat template uses as marks. */
export function controlTokens(
  json: TokenizerJson,
  template: string | null,
): readonly ControlToken[] {
  return json.added_tokens
    .filter(
      (token) =>
        token.special ||
        (token.content.trim() !== "" && template !== null && template.includes(token.content)),
    )
    .map(({ id, content, special, lstrip, rstrip }) => ({ id, content, special, lstrip, rstrip }));
}

/**
 * A variant of the tokenizer for which control tokens are ordinary text: they are neither searched for in the text,
 * nor can the model's vocabulary or merges produce them.
 * @param first whether the text begins the sequence; a Metaspace that puts its mark only there depends on it
 */
export function withoutControls(
  json: TokenizerJson,
  controls: readonly ControlToken[],
  first: boolean,
): object {
  const contents = new Set(controls.map((token) => token.content));
  return {
    ...json,
    added_tokens: json.added_tokens.filter((token) => !contents.has(token.content)),
    pre_tokenizer: first ? json.pre_tokenizer : neverPrepend(json.pre_tokenizer),
    post_processor: null,
    model: renameControls(json.model, contents),
  };
}

/** True where text in the middle of a sequence is cut up differently from text at its start. */
export function dependsOnPosition(json: TokenizerJson): boolean {
  return JSON.stringify(json.pre_tokenizer) !== JSON.stringify(neverPrepend(json.pre_tokenizer));
}

function renameControls(model: Model, contents: ReadonlySet<string>): Model {
  // Its controls are beside the vocabulary, not in it.
  if (model.type === "RWKV") return model;
  // Ids must stay, so the entries stay too, under names that nobody can type.
  const secret = `\0${randomUUID()}`;
  const rename = (token: string): string => (contents.has(token) ? secret + token : token);
  if (Array.isArray(model.vocab)) {
    return {
      ...model,
      type: "Unigram",
      vocab: model.vocab.map(([token, score]) => [rename(token), score]),
    };
  }
  const { type: _, ...rest } = model;
  return {
    ...rest,
    ...(model.type === undefined || model.type === "Unigram" ? {} : { type: model.type }),
    vocab: Object.fromEntries(
      Object.entries(model.vocab).map(([token, id]) => [rename(token), id]),
    ),
    ...(Array.isArray(model.merges)
      ? { merges: model.merges.filter((merge) => !touches(merge, contents)) }
      : {}),
    ...(typeof model.unk_token === "string" ? { unk_token: rename(model.unk_token) } : {}),
  };
}

/** The library cuts the prefix off every right half, and aborts the process where it is not there. */
function mergesFitPrefix(model: Model): boolean {
  const { continuing_subword_prefix: prefix, merges } = model;
  if (typeof prefix !== "string" || !Array.isArray(merges)) return true;
  return merges.every((merge: Merge) => halves(merge)[1].startsWith(prefix));
}

const templateSchema = z.looseObject({
  type: z.literal("TemplateProcessing"),
  single: z.array(z.looseObject({ SpecialToken: z.looseObject({ id: z.string() }).optional() })),
  pair: z.array(z.looseObject({ SpecialToken: z.looseObject({ id: z.string() }).optional() })),
  special_tokens: z.record(
    z.string(),
    z.looseObject({ id: z.string(), ids: z.array(z.number()), tokens: z.array(z.string()) }),
  ),
});
const processorSchema = z.union([
  templateSchema,
  z.looseObject({ type: z.literal("Sequence"), processors: z.array(z.unknown()) }),
  z.looseObject({ type: z.enum(["ByteLevel", "BertProcessing", "RobertaProcessing"]) }),
]);

/** The library looks the template's tokens up unchecked while it encodes, and aborts the process if one is missing. */
function templatesAreComplete(processor: unknown): boolean {
  if (processor === null || processor === undefined) return true;
  const parsed = processorSchema.safeParse(processor);
  if (!parsed.success) return false;
  if (parsed.data.type === "Sequence") return parsed.data.processors.every(templatesAreComplete);
  const template = templateSchema.safeParse(processor);
  if (!template.success) return parsed.data.type !== "TemplateProcessing";
  const { single, pair, special_tokens: listed } = template.data;
  return (
    Object.entries(listed).every(
      ([name, { id, ids, tokens }]) =>
        name === id && ids.length > 0 && ids.length === tokens.length,
    ) &&
    [...single, ...pair].every(
      ({ SpecialToken: token }) => token === undefined || Object.hasOwn(listed, token.id),
    )
  );
}

function touches(merge: Merge, contents: ReadonlySet<string>): boolean {
  const [left, right] = halves(merge);
  return contents.has(left) || contents.has(right) || contents.has(left + right);
}

function halves(merge: Merge): readonly [string, string] {
  if (typeof merge !== "string") return merge;
  const space = merge.indexOf(" ", 1);
  return [merge.slice(0, space), merge.slice(space + 1)];
}

const metaspaceSchema = z.looseObject({
  type: z.literal("Metaspace"),
  prepend_scheme: z.literal("first"),
});
const sequenceSchema = z.looseObject({
  type: z.literal("Sequence"),
  pretokenizers: z.array(z.unknown()),
});

function neverPrepend(preTokenizer: unknown): unknown {
  const metaspace = metaspaceSchema.safeParse(preTokenizer);
  if (metaspace.success) return { ...metaspace.data, prepend_scheme: "never" };
  const sequence = sequenceSchema.safeParse(preTokenizer);
  if (sequence.success)
    return { ...sequence.data, pretokenizers: sequence.data.pretokenizers.map(neverPrepend) };
  return preTokenizer;
}
