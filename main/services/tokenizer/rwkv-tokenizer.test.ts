import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ggufTokenizer } from "../../../models/tokenizer/gguf-tokenizer.ts";
import { createTokenizer } from "./create-tokenizer.ts";
import { loadTokenizer, readFolder } from "./load-tokenizer.ts";
import { StreamDecoder } from "./stream-decoder.ts";
import { tokenizerEntries } from "./to-gguf.ts";
import type { Tokenizer } from "./tokenizer.ts";

const WORDS = [
  ..." the| a|th|the|ther|he|\n\n|\n\n\n|User:| User|世界|世|界|😀|<|end|>|\ufeff|  ".split("|"),
  "\r\n",
  "it's",
];
/** Half a character and what may stand round it, as the published vocabulary has them. */
const HALVES = [Buffer.from("世界").subarray(0, 4), Buffer.from("😀").subarray(0, 2)];
const TOKENS: readonly Buffer[] = [
  Buffer.alloc(0),
  ...Array.from({ length: 256 }, (_, byte) => Buffer.of(byte)),
  ...[...new Set(WORDS.filter((word) => Buffer.byteLength(word) > 1))].map((word) =>
    Buffer.from(word),
  ),
  ...HALVES,
];
const TEXTS = [
  "",
  "the other thermometer, the end",
  "User: hello\n\n\n\nAssistant:",
  "世界 世 界😀😁 mixed",
  "\ufeffbyte order mark\ufeff",
  "tabs\tand\r\nlines\r",
  "<|end|> and <|rwkv_tokenizer_end_of_text|>",
  "a\u0000b\u007f\u0080ÿ",
  "the ".repeat(5000),
];

/** Plainly: of all tokens that come next, the longest. */
function expectedIds(text: string): number[] {
  const bytes = Buffer.from(text);
  const ids: number[] = [];
  for (let at = 0; at < bytes.length;) {
    let best = 0;
    TOKENS.forEach((token, id) => {
      const fits = token.length > 0 && bytes.subarray(at, at + token.length).equals(token);
      if (fits && token.length > (TOKENS[best]?.length ?? 0)) best = id;
    });
    ids.push(best);
    at += TOKENS[best]?.length ?? Infinity;
  }
  return ids;
}

/** As the author's file has it: strings where the bytes are UTF-8, else bytes. */
function vocabularyFile(): string {
  return TOKENS.slice(1)
    .map((token, index) => {
      const text = token.toString("utf8");
      const isText = Buffer.from(text).equals(token) && /^[\x20-\x7e]*$/.test(text);
      const hex = [...token].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
      const literal = isText ? `'${text.replace(/[\\']/g, String.raw`\$&`)}'` : `b'${hex}'`;
      return `${index + 1} ${literal} ${token.length}\n`;
    })
    .join("");
}

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tarn-rwkv-"));
  await writeFile(join(folder, "rwkv_vocab_v20230424.txt"), vocabularyFile());
});
afterEach(() => rm(folder, { recursive: true }));

async function load(): Promise<Tokenizer> {
  return (await loadTokenizer(folder)).tokenizer;
}

describe("a folder with RWKV's vocabulary file", () => {
  it("encodes as a plain search for the longest token does, and decodes every text exactly", async () => {
    const tokenizer = await load();
    for (const text of TEXTS) {
      const ids = await tokenizer.encodeText(text, { first: true });
      expect([...ids]).toEqual(expectedIds(text));
      expect(await tokenizer.decode(ids, { skipSpecial: false })).toBe(text);
    }
  });

  it("turns only what authors write into the end of a text", async () => {
    const tokenizer = await load();
    const END = "<|rwkv_tokenizer_end_of_text|>";
    const ids = await tokenizer.encode(`${END}the`, { special: true });
    expect([...ids]).toEqual([0, ...expectedIds("the")]);
    expect(await tokenizer.decode(ids, { skipSpecial: true })).toBe("the");
    expect(await tokenizer.decode(ids, { skipSpecial: false })).toBe(`${END}the`);
    expect(await tokenizer.encodeText(END, { first: false })).not.toContain(0);
    expect(tokenizer.specialId(END)).toBe(0);
    expect(tokenizer.endIds).toEqual([0]);
    expect(tokenizer.vocabSize).toBe(TOKENS.length);
  });

  it("gives tokens in the alphabet of bytes, and null beyond them", async () => {
    const tokenizer = await load();
    const space = [...(await tokenizer.encodeText(" the", { first: true }))];
    expect(space.map((id) => tokenizer.token(id))).toEqual(["Ġthe"]);
    expect(tokenizer.token(TOKENS.length)).toBeNull();
    expect(tokenizer.token(-1)).toBeNull();
  });

  it("goes through the metadata of a GGUF file unchanged", async () => {
    const vocabSize = TOKENS.length + 7;
    const written = tokenizerEntries(await readFolder(folder), vocabSize);
    const entries = new Map(written.map(([key, { value }]) => [key, value]));
    expect(entries.get("tokenizer.ggml.tokens")).toHaveLength(vocabSize);
    const eot = entries.get("tokenizer.ggml.eot_token_id");
    expect(eot).toBe(TOKENS.findIndex((token) => token.toString() === "\n\n"));
    const other = createTokenizer(JSON.stringify(ggufTokenizer(entries)), null);
    for (const text of [...TEXTS.slice(0, -1), `[PAD${vocabSize - 1}] \\x41 \\ \\n it's`]) {
      expect([...(await other.encodeText(text, { first: true }))]).toEqual(expectedIds(text));
    }
    expect(other.controls).toEqual((await load()).controls);
    expect(other.endIds).toEqual([0]);
  });

  it("streams no half characters, and all of the text", async () => {
    const tokenizer = await load();
    for (const text of TEXTS.slice(0, -1)) {
      // Byte by byte too: no token then ends where a character does.
      const bytewise = Int32Array.from(Buffer.from(text), (byte) => byte + 1);
      for (const ids of [await tokenizer.encodeText(text, { first: true }), bytewise]) {
        const decoder = new StreamDecoder(tokenizer, { skipSpecial: true });
        let streamed = "";
        for (const id of ids) {
          const piece = await decoder.push(id);
          expect(piece ?? "").not.toContain("\ufffd");
          streamed += piece ?? "";
        }
        expect(streamed + (await decoder.flush())).toBe(text);
      }
    }
  });

  it("decodes bytes that are no characters as the replacement character", async () => {
    const tokenizer = await load();
    const ids = [0xe4, 0xb8, 0x41].map((byte) => byte + 1);
    expect(await tokenizer.decode(ids, { skipSpecial: true })).toBe("\ufffdA");
  });

  it("takes the words that the template puts in front of the user's as the end of a turn", async () => {
    const template =
      "{% for m in messages %}{{ 'User' if m.role == 'user' else 'Assistant' }}: {{ m.content }}\n\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}";
    await writeFile(
      join(folder, "tokenizer_config.json"),
      JSON.stringify({ chat_template: template }),
    );
    const { format } = await loadTokenizer(folder);
    expect(format).toMatchObject({ kind: "template", stopStrings: ["\n\nUser:"], endIds: [] });
  });

  it("prefers names from tokenizer_config.json, and refuses what is no vocabulary", async () => {
    const config = { added_tokens_decoder: { 0: { content: "<|end of text|>", special: true } } };
    await writeFile(join(folder, "tokenizer_config.json"), JSON.stringify(config));
    expect((await load()).controls).toMatchObject([{ id: 0, content: "<|end of text|>" }]);
    await writeFile(join(folder, "rwkv_vocab_v20230424.txt"), "1 'a' 2\n");
    await expect(load()).rejects.toMatchObject({ name: "TarnError", code: "no-tokenizer" });
  });
});
