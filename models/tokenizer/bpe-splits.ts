/**
 * How byte-level BPE cuts text before it merges, by the name that GGUF files give the rules (`tokenizer.ggml.pre`). The
 * expressions are those of the models' own tokenizer.json files.
 */

/** A pre-tokenizer of tokenizer.json that stands before the one that makes bytes. */
type Cut = object;

export interface BpeRules {
  readonly cuts: readonly Cut[];
  /** GPT-2's expression too, built into the step that makes bytes. */
  readonly gpt2: boolean;
  /** Cuts behind it. */
  readonly after: readonly Cut[];
  readonly nfc: boolean;
  /** A whole piece that is a token is taken as it is. */
  readonly ignoreMerges: boolean;
}

function split(expression: string): Cut {
  return {
    type: "Split",
    pattern: { Regex: expression },
    behavior: "Isolated",
    invert: false,
  };
}

function rules(given: Partial<BpeRules>): BpeRules {
  return { cuts: [], gpt2: false, after: [], nfc: false, ignoreMerges: false, ...given };
}

const CONTRACTION = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)`;
const SPACES = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
const NOT_HAN_UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]`;
const NOT_HAN_LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]`;
const BEFORE_LETTERS = String.raw`[^\r\n\p{L}\p{N}]?`;

const LLAMA3 = String.raw`${CONTRACTION}|${BEFORE_LETTERS}\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|${SPACES}`;
const QWEN2 = String.raw`${CONTRACTION}|${BEFORE_LETTERS}\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|${SPACES}`;
const QWEN35 = String.raw`${CONTRACTION}|${BEFORE_LETTERS}[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|${SPACES}`;
const TEKKEN = String.raw`${BEFORE_LETTERS}${UPPER}*${LOWER}+|${BEFORE_LETTERS}${UPPER}+${LOWER}*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${SPACES}`;
const GPT4O = String.raw`${BEFORE_LETTERS}${UPPER}*${LOWER}+${CONTRACTION}?|${BEFORE_LETTERS}${UPPER}+${LOWER}*${CONTRACTION}?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${SPACES}`;
const KIMI_K2 = String.raw`[\p{Han}]+|${BEFORE_LETTERS}${NOT_HAN_UPPER}*${NOT_HAN_LOWER}+${CONTRACTION}?|${BEFORE_LETTERS}${NOT_HAN_UPPER}+${NOT_HAN_LOWER}*${CONTRACTION}?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|${SPACES}`;

const FAMILIES: readonly (readonly [names: readonly string[], rules: BpeRules])[] = [
  [["gpt-2", "default", "jais", "phi-2", "trillion", "granite-docling"], rules({ gpt2: true })],
  [["mpt", "olmo"], rules({ gpt2: true, nfc: true })],
  [
    ["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"],
    rules({ cuts: [{ type: "Digits", individual_digits: true }], gpt2: true }),
  ],
  [
    ["falcon"],
    rules({
      cuts: [{ type: "Punctuation", behavior: "Contiguous" }],
      gpt2: true,
      after: [{ type: "Digits", individual_digits: false }, split("[0-9][0-9][0-9]")],
    }),
  ],
  [
    ["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "lfm2", "midm-2.0"],
    rules({ cuts: [split(LLAMA3)], ignoreMerges: true }),
  ],
  [["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], rules({ cuts: [split(LLAMA3)] })],
  [["qwen2", "deepseek-r1-qwen", "hunyuan"], rules({ cuts: [split(QWEN2)], nfc: true })],
  [["stablelm2"], rules({ cuts: [split(QWEN2)] })],
  [["qwen35"], rules({ cuts: [split(QWEN35)], nfc: true })],
  [["tekken"], rules({ cuts: [split(TEKKEN)], ignoreMerges: true })],
  [["gpt-4o", "llama4", "minimax-m2"], rules({ cuts: [split(GPT4O)] })],
  [["kimi-k2"], rules({ cuts: [split(KIMI_K2)] })],
];

/** The rules by name. */
export const BPE_SPLITS: ReadonlyMap<string, BpeRules> = new Map(
  FAMILIES.flatMap(([names, family]) => names.map((name): [string, BpeRules] => [name, family])),
);
