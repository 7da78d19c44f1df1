/** Personas with models that have no place for a system prompt: what is said of it, where, and that the prompt is read all the same. */
import { writeFile } from "node:fs/promises";
import path from "node:path";
import type { Browser } from "playwright";
import { afterAll, beforeAll, expect, test } from "vitest";
import { dataFolder, launchBrowser, type Server, startServer, TarnApp } from "./app.ts";
import { type Client, connect } from "./contract-client.ts";
import { chatModel } from "./soak/model.ts";

let data: Awaited<ReturnType<typeof dataFolder>>;
let browser: Browser;
let server: Server;
let client: Client;
let app: TarnApp;

/** Refuses system messages, as templates of Gemma and Mistral do. */
const TEMPLATE =
  "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}{% if add_generation_prompt %}<model>{% endif %}";

beforeAll(async () => {
  data = await dataFolder();
  const models = path.join(data.path, "models");
  const folder = chatModel("mamba2", models);
  await writeFile(
    path.join(folder, "tokenizer_config.json"),
    JSON.stringify({ chat_template: TEMPLATE, bos_token: "<bos>", eos_token: "<eos>" }),
  );
  chatModel("jamba", models);
  server = await startServer(data.path);
  client = await connect(server.address);
  await client.call("settings.set", {
    sampler: { ...(await client.call("settings.get", {})).sampler, maxTokens: 16 },
  });
  browser = await launchBrowser();
  app = await TarnApp.open(browser, server.address);
});
afterAll(async () => {
  client?.close();
  await browser?.close();
  await server?.kill();
  await data?.release();
});

async function use(fixture: string): Promise<void> {
  const all = await client.call("models.list", {});
  const modelId = all.find(({ id }) => id.includes(fixture))?.id ?? "";
  await client.call("models.use", { modelId });
  await expect
    .poll(async () => {
      const status = await client.call("engine.status", {});
      return status.modelId === modelId && status.phase === "ready";
    })
    .toBe(true);
}

test.each([
  ["mamba2", "no-role", /chat template has no place for a system prompt/],
  ["jamba", "no-template", /has no chat template/],
] as const)("%s (%s)", async (fixture, what, sentence) => {
  await use(fixture);
  await app.button("Personas").click();
  if (what === "no-role") {
    await app.button("New persona").click();
    await app.page.getByLabel("Name").fill("Night watchman");
    await app.page
      .getByLabel("System prompt")
      .fill("You watch over an old castle at night. You answer in one short sentence.");
    expect(await app.inBothThemes(`persona-editor-${what}`)).toEqual([]);
    await app.button("Make").click();
  }
  const list = app.page.getByRole("list", { name: "Personas" });
  await list.getByText("read,").waitFor();
  await app.page.getByText(sentence).first().waitFor();
  expect(await app.inBothThemes(`personas-${what}`)).toEqual([]);
  await app.button("Chat with Night watchman").click();
  await app.page.getByText(sentence).first().waitFor();
  expect(await app.inBothThemes(`persona-chosen-${what}`)).toEqual([]);
  await app.ask("Is anyone at the gate?");
  await app.page.getByText("Begins with the persona Night watchman").waitFor();
  expect(await app.inBothThemes(`persona-chat-${what}`)).toEqual([]);
  expect(app.complaints).toEqual([]);
});
