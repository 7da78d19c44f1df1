import type { SamplerHints } from "../../../models/engine/protocol.ts";
import {
  samplerSchema,
  settingsSchema,
  type SamplerSettings,
  type Settings,
} from "../../contract/dto.ts";
import type { Store } from "../../store/store.ts";
import type { Events } from "../events.ts";

/** What holds until the user or the model says otherwise. Greedy, because the default model is best so. */
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
  statesBudget: 4e9,
};

/** What is given changes; the rest stays. */
export type SettingsPatch = { readonly [K in keyof Settings]?: Settings[K] | undefined };

export interface SettingsService {
  /** The sampler's fields are those that the user has changed, else the model's hints, else the defaults. */
  get(): Settings;
  /** On disk when it resolves. */
  set(patch: SettingsPatch): Promise<Settings>;
  /** How the loaded model's authors would have it sampled, in place of what the model before it said. */
  suggest(hints: SamplerHints): void;
}

/** What the user chose of the sampler; stored so, and as a whole by the first releases. */
const choiceSchema = samplerSchema.partial();
type Choice = { readonly [K in keyof SamplerSettings]?: SamplerSettings[K] | undefined };

/** A stored value that no longer fits its schema falls back to the default, alone. */
export async function openSettings(store: Store, events: Events): Promise<SettingsService> {
  const stored = await store.run("readSettings", {});
  let current = DEFAULT_SETTINGS;
  let hints: SamplerHints = {};
  let chosen: Choice = choiceSchema.safeParse(stored["sampler"]).data ?? {};
  for (const [key, value] of Object.entries(stored)) {
    if (key === "sampler") continue;
    const parsed = settingsSchema.safeParse({ ...current, [key]: value });
    if (parsed.success) current = parsed.data;
  }

  function get(): Settings {
    return { ...current, sampler: merged(DEFAULT_SETTINGS.sampler, hints, chosen) };
  }

  return {
    get,
    async set(patch) {
      const values = Object.fromEntries(
        Object.entries(patch).filter(([, value]) => value !== undefined),
      );
      const next = settingsSchema.parse({ ...get(), ...values });
      const choice = { ...chosen, ...changes(get().sampler, next.sampler) };
      const written = patch.sampler === undefined ? values : { ...values, sampler: choice };
      await store.run("writeSettings", { values: written });
      current = next;
      chosen = choice;
      events.emit("settings.changed", get());
      return get();
    },
    suggest(said) {
      const before = get().sampler;
      hints = said;
      if (Object.keys(changes(before, get().sampler)).length > 0)
        events.emit("settings.changed", get());
    },
  };
}

/** The last of each field that says something. */
function merged(defaults: SamplerSettings, ...said: readonly Choice[]): SamplerSettings {
  const fields = said.flatMap((one) =>
    Object.entries(one).filter(([, value]) => value !== undefined),
  );
  return samplerSchema.parse({ ...defaults, ...Object.fromEntries(fields) });
}

/** The fields of the second that differ from the first. */
function changes(before: SamplerSettings, after: SamplerSettings): Choice {
  const fields = samplerSchema.keyof().options;
  return Object.fromEntries(
    fields.filter((field) => before[field] !== after[field]).map((field) => [field, after[field]]),
  );
}
