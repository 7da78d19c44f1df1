import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Services } from "../app.ts";
import { startServices } from "../services.testing.ts";
import { createFakeEngine, type FakeEngine } from "../fake-engine.ts";
import { DEFAULT_SETTINGS } from "./settings.ts";

const HINTS = { temperature: 0.6, topK: 20 };

let folder: string;
let engine: FakeEngine;
let services: Services | null = null;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tarn-settings-"));
  engine = createFakeEngine();
});
afterEach(async () => {
  await services?.close();
  services = null;
  rmSync(folder, { recursive: true, force: true });
});

async function start(): Promise<Services> {
  await services?.close();
  services = await startServices(folder, engine);
  await services.engine.model();
  return services;
}

async function complete({ complete: answer }: Services): Promise<void> {
  await answer(
    {
      messages: [{ role: "user", text: "Hello" }],
      stop: [],
      sampler: (settings) => ({ ...settings, maxTokens: 3 }),
    },
    () => undefined,
    new AbortController().signal,
  );
}

describe("the sampler's settings", () => {
  test("are the defaults where the model says nothing", async () => {
    const app = await start();
    expect(app.settings.get()).toEqual(DEFAULT_SETTINGS);
  });

  test("are the model's hints until the user changes them, each field alone, and on disk", async () => {
    engine.samplerHints = HINTS;
    const app = await start();
    const hinted = { ...DEFAULT_SETTINGS.sampler, ...HINTS };
    expect(app.settings.get().sampler).toEqual(hinted);
    await complete(app);
    expect(engine.samplers.at(-1)).toMatchObject(HINTS);

    // What is given back unchanged is no choice; greedy is one though it is the default.
    await app.handlers["settings.set"]({ sampler: { ...hinted, temperature: 0 } });
    expect(app.settings.get().sampler).toEqual({ ...hinted, temperature: 0 });
    await complete(app);
    expect(engine.samplers.at(-1)).toMatchObject({ temperature: 0, topK: 20 });

    engine.samplerHints = { temperature: 1.1, minP: 0.05 };
    const again = await start();
    expect(again.settings.get().sampler).toEqual({
      ...DEFAULT_SETTINGS.sampler,
      temperature: 0,
      minP: 0.05,
    });
  });

  test("change with the model, and say so", async () => {
    engine.samplerHints = HINTS;
    const app = await start();
    const told: unknown[] = [];
    app.events.subscribe((name, data) => {
      if (name === "settings.changed") told.push(data);
    });
    engine.samplerHints = {};
    await app.engine.reload();
    expect(told).toEqual([DEFAULT_SETTINGS]);
    await app.engine.reload();
    expect(told).toHaveLength(1);
  });
});
