import { settingsSchema, type Settings } from "../../contract/dto.ts";
import type { Store } from "../../store/store.ts";
import type { Events } from "../events.ts";

/** What holds until the user changes it. Greedy, because the default model is best so. */
export const DEFAULT_SETTINGS: Settings = {
  theme: "system",
  backend: "auto",
  modelId: null,
  systemPrompt: "",
  sampler: {
    temperature: 0,
    topK: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    repetitionWindow: 64,
    seed: 0,
    maxTokens: 1024,
  },
  announce: "paragraphs",
};

/** What is given changes; the rest stays. */
export type SettingsPatch = { readonly [K in keyof Settings]?: Settings[K] | undefined };

export interface SettingsService {
  get(): Settings;
  /** On disk when it resolves. */
  set(patch: SettingsPatch): Promise<Settings>;
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
      const values = Object.fromEntries(
        Object.entries(patch).filter(([, value]) => value !== undefined),
      );
      const next = settingsSchema.parse({ ...current, ...values });
      await store.run("writeSettings", { values });
      current = next;
      events.emit("settings.changed", current);
      return current;
    },
  };
}
