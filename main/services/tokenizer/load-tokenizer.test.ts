import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadTokenizer } from "./load-tokenizer.ts";

const fixtures = fileURLToPath(new URL("../../../e2e/fixtures/", import.meta.url));
const CHATML =
  "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tarn-tokenizer-"));
});
afterEach(() => rm(folder, { recursive: true }));

async function firstTurn(): Promise<string> {
  const { tokenizer, format } = await loadTokenizer(folder);
  return tokenizer.decode(await format.turnIds("empty", [{ role: "user", text: "hi" }]), {
    skipSpecial: false,
  });
}

describe("loadTokenizer", () => {
  it("says that a model folder without a tokenizer has none", async () => {
    await expect(loadTokenizer(join(fixtures, "models/mamba2"))).rejects.toMatchObject({
      name: "TarnError",
      code: "no-tokenizer",
    });
  });

  it("reads template and token names from tokenizer_config.json, and prefers chat_template.jinja", async () => {
    await cp(
      join(fixtures, "tokenizers/llama3_bytelevel_bpe/tokenizer.json"),
      join(folder, "tokenizer.json"),
    );
    await writeFile(
      join(folder, "tokenizer_config.json"),
      JSON.stringify({
        bos_token: { content: "<|begin_of_text|>", lstrip: false },
        eos_token: "<|end_of_text|>",
        chat_template: [
          { name: "tools", template: "" },
          { name: "default", template: CHATML },
        ],
      }),
    );
    expect(await firstTurn()).toBe("<|begin_of_text|>[user]hi<|end_of_text|>[assistant]");
    await writeFile(
      join(folder, "chat_template.jinja"),
      "Q:{% for m in messages %}{{ m.content }}{% endfor %}A:",
    );
    expect(await firstTurn()).toBe("Q:hiA:");
  });

  it("takes the bytes themselves where the vocabulary is 256 and nothing else is said", async () => {
    await writeFile(
      join(folder, "config.json"),
      JSON.stringify({ d_model: 8, n_layer: 1, vocab_size: 256, ssm_cfg: {} }),
    );
    const { tokenizer } = await loadTokenizer(folder);
    const text = "Tarn: a\tλ 🜂\r\n\0 ";
    const bytes = [...new TextEncoder().encode(text)];
    expect([...(await tokenizer.encode(text, { special: true }))]).toEqual(bytes);
    expect([...(await tokenizer.encodeText(text, { first: true }))]).toEqual(bytes);
    expect(await tokenizer.decode(bytes, { skipSpecial: true })).toBe(text);
    expect(tokenizer.vocabSize).toBe(256);
    const every = Array.from({ length: 256 }, (_, byte) => byte);
    expect(await tokenizer.decode(every, { skipSpecial: false })).toBe(
      new TextDecoder().decode(Uint8Array.from(every)),
    );
  });

  it("refuses a broken GGUF file and a missing one with typed errors", async () => {
    await writeFile(join(folder, "x.gguf"), "GGUF but nothing behind it, in fact");
    await expect(loadTokenizer(join(folder, "x.gguf"))).rejects.toMatchObject({ code: "weights" });
    await expect(loadTokenizer(folder)).rejects.toMatchObject({ code: "weights" });
    await expect(loadTokenizer(join(folder, "y.gguf"))).rejects.toMatchObject({
      code: "not-found",
    });
  });

  it("uses the plain form where there is no template", async () => {
    await cp(
      join(fixtures, "tokenizers/neox_bytelevel_bpe/tokenizer.json"),
      join(folder, "tokenizer.json"),
    );
    expect(await firstTurn()).toBe("User: hi\n\nAssistant:");
  });

  it.each(["not json", '{"chat_template": 5}'])(
    "refuses the broken tokenizer_config.json %j with a typed error",
    async (text) => {
      await cp(
        join(fixtures, "tokenizers/neox_bytelevel_bpe/tokenizer.json"),
        join(folder, "tokenizer.json"),
      );
      await writeFile(join(folder, "tokenizer_config.json"), text);
      await expect(loadTokenizer(folder)).rejects.toMatchObject({
        name: "TarnError",
        code: "no-tokenizer",
      });
    },
  );
});
