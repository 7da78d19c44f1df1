/** The engine as services use it: started once, a model loaded in the background, its condition told to the UI. */
import type { EngineClient } from "../../engine/client.ts";
import type { ModelInfo } from "../../../models/engine/protocol.ts";
import type { EngineStatus, ModelEntry } from "../../contract/dto.ts";
import { TarnError } from "../../contract/errors.ts";
import { toTarnError } from "../dispatch.ts";
import type { Events } from "../events.ts";
import type { ModelLibrary } from "../models/model-library.ts";
import type { SettingsService } from "../settings/settings.ts";
import { fromEngine } from "./engine-errors.ts";
import type { LoadedTokenizer } from "../tokenizer/load-tokenizer.ts";
import { followSessions, type SessionHistory } from "../provenance/session-history.ts";
import { createWording, type Wording } from "./wording.ts";

/** A model that is ready to answer. */
export interface LoadedModel {
  readonly engine: EngineClient;
  /** How the engine's sessions came about. */
  readonly history: SessionHistory;
  readonly info: ModelInfo;
  readonly entry: ModelEntry;
  readonly wording: Wording;
}

export interface EngineService {
  status(): EngineStatus;
  /** The loaded model; waits while one is loading. @throws TarnError why there is none */
  model(): Promise<LoadedModel>;
  /** The loaded model, or null without waiting. */
  ready(): LoadedModel | null;
  /** Loads the model of the settings, or the first that can be used, in place of the present one. Never throws; `status` says how it went. */
  reload(): Promise<void>;
  /** After the device or the thread was lost: ends the engine, starts a new one, loads again. */
  restart(): Promise<void>;
  /** What the engine is doing right now; null for nothing. */
  activity(
    doing: {
      readonly phase: "reading" | "writing" | "rebuilding";
      readonly tokensPerSecond: number | null;
    } | null,
  ): void;
  /** Measured prefill speed, tokens/s; null before anything was read. */
  readingSpeed(): number | null;
  measured(prefillTokensPerSecond: number): void;
  close(): Promise<void>;
}

const NOTHING: EngineStatus = {
  phase: "starting",
  modelId: null,
  modelName: null,
  weights: null,
  backend: null,
  device: null,
  stateBytes: null,
  stateBytesPerToken: null,
  tokensPerSecond: null,
  notices: [],
  error: null,
};

/** Where engines come from: one that was started already, and others where that one ends. */
export interface EngineSource {
  readonly first: Promise<EngineClient>;
  next(): EngineClient | Promise<EngineClient>;
}

export function createEngineService(
  { first, next }: EngineSource,
  openTokenizer: (modelPath: string) => Promise<LoadedTokenizer>,
  library: ModelLibrary,
  settings: SettingsService,
  events: Events,
): EngineService {
  let engine: Promise<EngineClient> | null = first;
  // Told where the engine is asked for.
  first.catch(() => undefined);
  let loading: Promise<LoadedModel> | null = null;
  let loaded: LoadedModel | null = null;
  let status = NOTHING;
  let speed: number | null = null;
  let closed = false;

  function tell(patch: Partial<EngineStatus>): void {
    status = { ...status, ...patch };
    events.emit("engine.status", status);
  }

  async function chooseModel(): Promise<ModelEntry> {
    const given = await library.given();
    if (given !== null) return given;
    const models = await library.list();
    const wanted = settings.get().modelId;
    const chosen =
      models.find((entry) => entry.id === wanted && entry.supported) ??
      models.find((entry) => entry.supported);
    if (chosen === undefined) {
      throw new TarnError(
        "no-model",
        "There is no model yet. Nothing is lost; add a GGUF file or a model folder under Models.",
      );
    }
    if (wanted !== null && chosen.id !== wanted) {
      events.emit("notice", {
        kind: "warning",
        text: `The model "${wanted}" is not there any more; ${chosen.name} is used instead.`,
      });
    }
    return chosen;
  }

  /** One that is lost may not be able to close any more; it is left either way. */
  async function endEngine(): Promise<void> {
    const client = engine;
    engine = null;
    if (client !== null) await client.then((one) => one.close()).catch(() => undefined);
  }

  async function load(): Promise<LoadedModel> {
    try {
      if (closed) throw new TarnError("cancelled", "Tarn is closing.");
      const entry = await chooseModel();
      tell({ ...NOTHING, phase: "loading", modelId: entry.id, modelName: entry.name });
      engine ??= Promise.resolve(next());
      const client = await engine;
      // The tokenizer's file is read here while the engine's thread loads the weights.
      const [info, tokenizer] = await Promise.all([
        client.call("load", {
          files: await library.files(entry),
          backend: settings.get().backend,
          quantise: null,
          kvDtype: "f32",
          threads: null,
        }),
        openTokenizer(entry.path).then(async (opened) => {
          // The first words take a tokenizer some 50 ms: not those that somebody waits for.
          await opened.format.turnIds("empty", [{ role: "user", text: "1" }]);
          return opened;
        }),
      ]);
      const wording = createWording(tokenizer, info.stopIds);
      const { notice } = tokenizer.format;
      settings.suggest(info.samplerHints);
      loaded = { ...followSessions(client), info, entry, wording };
      tell({
        phase: "ready",
        modelName: info.name === "" ? entry.name : info.name,
        weights: weightsName(info.dtypes),
        backend: info.device.backend,
        device: info.device.name,
        stateBytes: info.stateBytes,
        stateBytesPerToken: info.stateBytesPerToken,
        notices: notice === null ? [...info.notices] : [...info.notices, notice],
        error: null,
      });
      return loaded;
    } catch (cause) {
      const error = toTarnError(fromEngine(cause));
      tell({
        phase: error.code === "no-model" ? "no-model" : "failed",
        error: { code: error.code, message: error.message },
      });
      throw error;
    }
  }

  /** @param first what must happen before, once what is loading now has come to its end */
  async function reload(first: () => Promise<void> = async () => undefined): Promise<void> {
    const before = loading;
    loaded = null;
    speed = null;
    const mine = (async () => {
      if (before !== null) await before.catch(() => undefined);
      await first();
      return load();
    })();
    loading = mine;
    // Already told by `load` through the status; whoever needs the model gets the error from `model()`.
    await mine.catch(() => undefined);
  }

  return {
    status: () => status,
    async model() {
      if (loading === null) void reload();
      if (loading === null) throw new TarnError("no-model", "No model is being loaded.");
      return loading;
    },
    ready: () => loaded,
    reload: () => reload(),
    restart: () => reload(endEngine),
    activity(doing) {
      if (loaded === null) return;
      if (doing === null) tell({ phase: "ready" });
      else
        tell({
          phase: doing.phase,
          tokensPerSecond: doing.tokensPerSecond ?? status.tokensPerSecond,
        });
    },
    readingSpeed: () => speed,
    measured(prefillTokensPerSecond) {
      speed = prefillTokensPerSecond;
    },
    async close() {
      closed = true;
      loaded = null;
      await endEngine();
    },
  };
}

/** The type that most matrices have, as the UI writes it: "Q8_0". */
function weightsName(dtypes: Readonly<Record<string, number>>): string | null {
  const most = Object.entries(dtypes).toSorted(([, a], [, b]) => b - a)[0];
  return most === undefined ? null : most[0].toUpperCase();
}
