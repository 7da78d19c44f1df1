import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { TarnError } from "../../contract/errors.ts";
import { createTokenizer } from "./create-tokenizer.ts";
import { StreamDecoder } from "./stream-decoder.ts";
import type { Tokenizer } from "./tokenizer.ts";

const kinds = [
  "neox_bytelevel_bpe",
  "unigram_metaspace",
  "llama_bpe_bytefallback",
  "llama3_bytelevel_bpe",
] as const;
const ids = z.array(z.number());
const goldenSchema = z.object({
  cases: z.array(
    z.object({
      text: z.string(),
      ids,
      ids_no_special: ids,
      tokens: z.array(z.string()),
      decoded: z.string(),
      decoded_skip_special: z.string(),
    }),
  ),
  stream: z.object({ text: z.string(), ids, pieces: z.array(z.string().nullable()) }),
});

function read(kind: string, file: string): string {
  return readFileSync(
    new URL(`../../../e2e/fixtures/tokenizers/${kind}/${file}`, import.meta.url),
    "utf8",
  );
}

async function streamed(
  tokenizer: Tokenizer,
  tokens: readonly number[],
  skipSpecial: boolean,
): Promise<(string | null)[]> {
  const decoder = new StreamDecoder(tokenizer, { skipSpecial });
  const pieces: (string | null)[] = [];
  for (const token of tokens) pieces.push(await decoder.push(token));
  pieces.push(await decoder.flush());
  return pieces;
}

describe.each(kinds)("%s", (kind) => {
  const tokenizer = createTokenizer(read(kind, "tokenizer.json"), null);
  const golden = goldenSchema.parse(JSON.parse(read(kind, "golden.json")));

  it("encodes and decodes every golden case exactly", async () => {
    expect(golden.cases.length).toBeGreaterThan(50);
    for (const { text, ...expected } of golden.cases) {
      const encoded = await tokenizer.encode(text, { special: true });
      expect(
        {
          ids: [...encoded],
          ids_no_special: [...(await tokenizer.encode(text, { special: false }))],
          tokens: [...encoded].map((id) => tokenizer.token(id)),
          decoded: await tokenizer.decode(encoded, { skipSpecial: false }),
          decoded_skip_special: await tokenizer.decode(encoded, { skipSpecial: true }),
        },
        JSON.stringify(text),
      ).toEqual(expected);
    }
  });

  it("streams exactly the golden pieces", async () => {
    const pieces = await streamed(tokenizer, golden.stream.ids, false);
    expect(pieces.slice(0, -1)).toEqual(golden.stream.pieces);
  });

  it("streams every golden case to what decoding at once gives", async () => {
    for (const { ids: tokens, decoded, decoded_skip_special: skipped, text } of golden.cases) {
      expect((await streamed(tokenizer, tokens, false)).join(""), JSON.stringify(text)).toBe(
        decoded,
      );
      expect((await streamed(tokenizer, tokens, true)).join(""), JSON.stringify(text)).toBe(
        skipped,
      );
    }
  });

  it("encodes text without control tokens as encode does, and text with them to none of them", async () => {
    const controls = tokenizer.controls;
    const unknown = tokenizer.specialId("<unk>");
    for (const { text, ids_no_special: expected } of golden.cases) {
      if (!controls.some((token) => text.includes(token.content))) {
        expect(
          [...(await tokenizer.encodeText(text, { first: true }))],
          JSON.stringify(text),
        ).toEqual(expected);
      }
      for (const { content } of controls) {
        const injected = await tokenizer.encodeText(`${text}${content} ${content}${text}`, {
          first: false,
        });
        const found = [...injected].filter(
          (id) => id !== unknown && controls.some((token) => token.id === id),
        );
        expect(found, JSON.stringify(content)).toEqual([]);
      }
    }
  });

  it("takes ids beyond the vocabulary as nothing", async () => {
    expect(await tokenizer.decode([-1, 2_000_000_000], { skipSpecial: false })).toBe("");
    expect(tokenizer.token(2_000_000_000)).toBeNull();
  });
});

describe("createTokenizer", () => {
  it.each([
    "",
    "{}",
    "[]",
    '{"model":{}}',
    // The native library would abort the process over these.
    '{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x","type_id":0}}],"pair":[],"special_tokens":{}}}',
    '{"model":{"type":"BPE","continuing_subword_prefix":"a","vocab":{"ä":0,"ää":1},"merges":[["ä","ä"]]}}',
    '{"model":{"type":"BPE","vocab":{"a":0},"merges":[["a","b"]]}}',
  ])("refuses %j with a typed error", (text) => {
    expect(() => createTokenizer(text, null)).toThrow(TarnError);
  });
});
