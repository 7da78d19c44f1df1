/** Personas, and how answers came to be, as a user meets them; seen in light and dark. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { openApp, type Opened, type TarnApp } from "./app.ts";

let opened: Opened;
let app: TarnApp;

beforeAll(async () => {
  opened = await openApp();
  ({ app } = opened);
});
afterAll(() => opened?.close());

const entries = () => app.page.getByRole("list", { name: "Personas" }).getByRole("listitem");
const panel = () => app.page.getByRole("region", { name: "How this answer came to be" });

test("a persona is made with an example, read in the background, and begun with for 0 tokens", async () => {
  await app.button("Personas").click();
  expect(await app.inBothThemes("personas-none")).toEqual([]);
  await app.button("New persona").click();
  await app.page.getByLabel("Name").fill("Night watchman");
  await app.page
    .getByLabel("System prompt")
    .fill("You watch over an old castle at night. You answer in one short sentence.");
  await app.button("Add an example").click();
  await app.page.getByLabel("Question of example 1").fill("Who goes there?");
  await app.page.getByLabel("Answer of example 1").fill("Only the wind, as every night.");
  expect(await app.inBothThemes("persona-editor")).toEqual([]);
  await app.button("Make").click();
  await entries().getByText("read,").waitFor();
  await app.button("Duplicate Night watchman").click();
  await app.page.getByLabel("Name").fill("Day watchman");
  await app.button("Make").click();
  await expect.poll(() => entries().getByText("read,").count()).toBe(2);
  expect(await app.inBothThemes("personas")).toEqual([]);
  const chat = app.button("Chat with Night watchman");
  await expect.poll(() => chat.getAttribute("aria-description")).toBe("0 tokens");
  await chat.click();
  await app.page.getByText("0 tokens to read before your words").waitFor();
  expect(await app.inBothThemes("persona-chosen")).toEqual([]);
  const answer = await app.ask("Is anyone at the gate?");
  // The question in its turn, and nothing of the persona.
  expect(await app.prefilled(answer)).toBeLessThan(16);
  await app.page.getByText("Begins with the persona Night watchman").waitFor();
  expect(await app.inBothThemes("persona-chat")).toEqual([]);
});

test("a change is for new chats, and what was removed comes back with undo", async () => {
  await app.button("Personas").click();
  await app.button("Edit Day watchman").click();
  await app.page.getByLabel("System prompt").fill("You watch over an old castle by day.");
  await app.button("Save").click();
  await app.page.getByText("Chats that began with it before stay as they are.").waitFor();
  await app.button("Remove Day watchman").click();
  await expect.poll(() => entries().count()).toBe(1);
  await app.button("Undo").click();
  await expect.poll(() => entries().count()).toBe(2);
});

test("how an answer came to be is shown, and holds when it is computed again", async () => {
  await app.chats.getByRole("listitem").first().getByRole("button").first().click();
  const again = await app.ask("And at the door?");
  await again.hover();
  await again.getByRole("button", { name: "Message menu" }).click();
  await app.page.getByRole("menuitem", { name: "How this answer came to be" }).click();
  await panel().getByText("Night watchman").waitFor();
  await panel().getByText("always the likeliest token").waitFor();
  expect(await app.inBothThemes("provenance")).toEqual([]);
  const audit = panel().getByRole("button", { name: "Audit", exact: true });
  await expect.poll(() => audit.getAttribute("aria-description")).toMatch(/^\d+ tokens/);
  await audit.click();
  await panel().getByText("It holds.").waitFor();
  await panel().getByText("The answer before it holds, too.").waitFor();
  await panel().getByText("its state is the same in every bit").waitFor();
  expect(await app.inBothThemes("provenance-audited")).toEqual([]);
  expect(app.outside).toEqual([]);
  expect(app.complaints).toEqual([]);
});
