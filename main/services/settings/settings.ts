import { settingsSchema, type Settings } from "../../contract/dto.ts";
import type { Store } from "../../store/store.ts";
import type { Events } from "../events.ts";

/** What holds until the user changes it. Greedy, because the default model is best so. */
export const DEFAULT_SETTINGS: Settings = {
  theme: "system",
  backend: "auto",
  modelId: null,
  systemPrompt: "",
  sampler: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, repetitionWindow: 64, seed: 0, maxTokens: 1024 },
  announce: "paragraphs",
};

export interface SettingsService {
  get(): Settings;
  /** On disk when it resolves. */
  set(patch: Partial<Settings>): Promise<Settings>;
}

/** A stored value that no longer fits its schema falls back to the default, alone. */
export async function openSettings(store: Store, events: Events): Promise<SettingsService> {
  const stored = await store.run("readSettings", {});
  let current = DEFAULT_SETTINGS;
  for (const [key, value] of Object.entries(stored)) {
    const parsed = settingsSchema.safeParse({ ...current, [key]: value });
    if (parsed.success) current = parsed.data;
  }
  return {
    get: () => current,
    async set(patch) {
      await store.run("writeSettings", { values: patch });
      current = settingsSchema.parse({ ...current, ...patch });
      events.emit("settings.changed", current);
      return current;
    },
  };
}
