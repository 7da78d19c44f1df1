import { describe, expect, test } from "vitest";
import { spell, unspell } from "./byte-alphabet.ts";
import { ggufTokenizer } from "./gguf-tokenizer.ts";
import { LongestMatch } from "./longest-match.ts";
import { rwkvTokenizer } from "./rwkv-tokenizer.ts";
import { TokenizerError, type TokenizerJson, type Value } from "./tokenizer-metadata.ts";

const FILE = "rwkv_vocab_v20230424.txt";
/** The published file begins with the bytes 0 … 255 as the ids 1 … 256, in Python's spelling. */
const SINGLE_BYTES = Array.from({ length: 256 }, (_, byte) => {
  const hex = byte.toString(16).padStart(2, "0");
  return byte < 128 ? `${byte + 1} '\\x${hex}' 1` : `${byte + 1} b'\\x${hex}' 1`;
});

function vocabularyOf(json: TokenizerJson): Map<string, number> {
  const { vocab } = json.model as { vocab: (readonly [string, number])[] };
  return new Map(vocab);
}

/** The id of a line's token. */
function read(...lines: readonly string[]): Map<string, number> {
  return vocabularyOf(rwkvTokenizer([...SINGLE_BYTES, ...lines].join("\n"), [], FILE));
}

describe("byte-level spelling", () => {
  test("is GPT-2's, there and back", () => {
    expect(spell(new TextEncoder().encode(" the\n"))).toBe("ĠtheĊ");
    expect(spell(Uint8Array.of(0, 127, 128, 160, 161, 173, 174, 255))).toBe("ĀġĢł¡Ń®ÿ");
    const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
    expect(new Set(spell(all)).size).toBe(256);
    expect(unspell(spell(all))).toEqual(all);
    expect(unspell("a b")).toBeNull();
  });
});

describe("the author's vocabulary file", () => {
  test.each([
    { line: "257 'the' 3", bytes: "the" },
    { line: "257 ' a b' 4", bytes: " a b" },
    { line: `257 "it's" 4`, bytes: "it's" },
    { line: String.raw`257 'a\\b\'"' 5`, bytes: `a\\b'"` },
    { line: String.raw`257 '\n\n\t\r' 4`, bytes: "\n\n\t\r" },
    { line: "257 '世界' 6", bytes: "世界" },
    { line: "257 '😀' 4", bytes: "😀" },
    // In a string an escape is a character, in bytes a byte.
    { line: String.raw`257 '\xa0' 2`, bytes: "\u00a0" },
    { line: String.raw`257 '\u3000\U0001f600' 7`, bytes: "\u3000😀" },
    { line: String.raw`257 b'\xe4\xb8' 2`, bytes: Uint8Array.of(0xe4, 0xb8) },
    { line: String.raw`257 b"'\xff" 2`, bytes: Uint8Array.of(0x27, 0xff) },
  ])("reads $line", ({ line, bytes }) => {
    const expected = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    expect(read(line).get(spell(expected))).toBe(257);
  });

  test.each([
    "257 'the' 4",
    "257 the 3",
    "'the' 3",
    "257 'it's' 4",
    String.raw`257 'a\' 2`,
    String.raw`257 '\q' 1`,
    "257 '' 0",
    "1 'the' 3",
    "257 'a' 1",
    "99999999 'the' 3",
  ])("refuses %s", (line) => {
    expect(() => read(line)).toThrow(TokenizerError);
  });

  test("refuses a vocabulary that does not have every byte", () => {
    const lines = SINGLE_BYTES.filter((line) => !line.startsWith("200 "));
    expect(() => rwkvTokenizer(lines.join("\n"), [], FILE)).toThrow(/single byte 199/);
  });

  test("names the end of a text, and adds only what the vocabulary does not have", () => {
    const text = [...SINGLE_BYTES, String.raw`261 '\n\n' 2`].join("\n");
    const added = [
      { id: 0, content: "<|end|>", special: true },
      // As some repositories have it: the end of a turn under an id that no training has seen.
      { id: 65530, content: "\n\n", special: true },
      { id: 5, content: "<|five|>", special: true },
    ];
    expect(rwkvTokenizer(text, added, FILE).added_tokens).toMatchObject([
      { id: 0, content: "<|end|>", special: true },
    ]);
    expect(rwkvTokenizer(text, [], FILE).added_tokens).toMatchObject([
      { id: 0, content: "<|rwkv_tokenizer_end_of_text|>" },
    ]);
  });
});

describe("GGUF's vocabulary", () => {
  const NORMAL = 1;
  const CONTROL = 3;
  const UNUSED = 5;

  test("is unescaped, without its control tokens and padding", () => {
    const singles = Array.from(
      { length: 256 },
      (_, byte) => `\\x${byte.toString(16).padStart(2, "0")}`,
    );
    const tokens = [
      "<s>",
      ...singles,
      String.raw`\n\n`,
      String.raw`\xe4\xb8`,
      String.raw`a\\b\'c`,
      " the",
      "[PAD261]",
    ];
    const types = tokens.map((_, id) =>
      id === 0 ? CONTROL : id === tokens.length - 1 ? UNUSED : NORMAL,
    );
    const metadata = new Map<string, Value>([
      ["tokenizer.ggml.model", "rwkv"],
      ["tokenizer.ggml.tokens", tokens],
      ["tokenizer.ggml.token_type", types],
    ]);
    const json = ggufTokenizer(metadata);
    expect(json.added_tokens).toMatchObject([{ id: 0, content: "<s>", special: true }]);
    const vocab = vocabularyOf(json);
    expect(vocab.size).toBe(256 + 4);
    const id = (text: string): number | undefined =>
      vocab.get(spell(new TextEncoder().encode(text)));
    expect([id("\n\n"), id("a\\b'c"), id(" the"), id("[PAD261]"), id("<s>")]).toEqual([
      257,
      259,
      260,
      undefined,
      undefined,
    ]);
    expect(vocab.get(spell(Uint8Array.of(0xe4, 0xb8)))).toBe(258);
  });
});

describe("the longest match", () => {
  test.each([1, 2, 3])("is what a plain search finds, vocabulary %i", (seed) => {
    // Few letters and many tokens: every beginning of a token is likely to be one.
    let state = seed;
    const next = (below: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const word = (length: number): number[] =>
      Array.from({ length }, () => [0, 97, 98, 255][next(4)] ?? 0);
    const tokens = new Map<string, { id: number; bytes: number[] }>();
    for (let id = 0; id < 300; id++) {
      const bytes = word(1 + next(7));
      if (!tokens.has(bytes.join())) tokens.set(bytes.join(), { id, bytes });
    }
    const longest = new LongestMatch(
      [...tokens.values()].map(({ id, bytes }) => [Uint8Array.from(bytes), id] as const),
    );
    const text = word(2000);
    for (let at = 0; at <= text.length; at++) {
      const expected = [...tokens.values()]
        .filter(({ bytes }) => bytes.every((byte, i) => text[at + i] === byte))
        .reduce(
          (best, { id, bytes }) =>
            bytes.length > best.length ? { id, length: bytes.length } : best,
          {
            id: -1,
            length: 0,
          },
        );
      expect(longest.at(Uint8Array.from(text), at)).toEqual(expected);
    }
  });
});
