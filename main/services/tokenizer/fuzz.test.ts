/** Damaged tokenizers: used, or refused with a sentence. The native library ends the process at some; none may reach it. */
import { readFileSync } from "node:fs";
import { test } from "vitest";
import { fuzz } from "../../../models/testing/fuzz.ts";
import { damagedJson } from "../../../models/testing/mutations.ts";
import { TarnError } from "../../contract/errors.ts";
import { createTokenizer } from "./create-tokenizer.ts";

const KINDS = [
  "neox_bytelevel_bpe",
  "unigram_metaspace",
  "llama_bpe_bytefallback",
  "llama3_bytelevel_bpe",
];
const TOKENS = 24;

interface Small {
  readonly added_tokens: readonly { readonly id: number }[];
  readonly model: {
    readonly vocab: Readonly<Record<string, number>> | readonly unknown[];
    readonly merges?: readonly (readonly [string, string])[];
  };
}

/** A golden tokenizer with its first tokens only: a large one takes a thousand times as long and breaks no better. */
function small(kind: string): unknown {
  const url = new URL(`../../../e2e/fixtures/tokenizers/${kind}/tokenizer.json`, import.meta.url);
  const json = JSON.parse(readFileSync(url, "utf8")) as Small;
  const { vocab, merges } = json.model;
  if (Array.isArray(vocab))
    return { ...json, model: { ...json.model, vocab: vocab.slice(0, TOKENS) } };
  const kept = new Set<string>();
  for (const [left, right] of merges?.slice(0, 4) ?? [])
    for (const token of [left, right, left + right]) kept.add(token);
  for (const token of Object.keys(vocab).slice(0, TOKENS - kept.size)) kept.add(token);
  const ids = new Map([...kept].map((token, id) => [token, id]));
  return {
    ...json,
    added_tokens: json.added_tokens
      .slice(0, 3)
      .map((token, i) => ({ ...token, id: kept.size + i })),
    model: { ...json.model, vocab: Object.fromEntries(ids), merges: merges?.slice(0, 4) },
  };
}

test("tokenizer.json", async () => {
  await fuzz(
    damagedJson(KINDS.map(small)),
    async (json) => {
      const tokenizer = createTokenizer(JSON.stringify(json), null);
      const ids = await tokenizer.encode(" in on a<s>\u00e9", { special: true });
      await tokenizer.encodeText("a on", { first: false });
      await tokenizer.decode([...ids, 0, 5, 1e6], { skipSpecial: true });
    },
    (error) => error instanceof TarnError && error.code === "no-tokenizer",
  );
});
