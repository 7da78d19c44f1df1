import type { DeviceInfo } from "../../kernels/spec/backend.ts";
import { KernelError } from "../../kernels/spec/errors.ts";
import type { BackendCandidate } from "./backends.ts";
import { EngineFault, toFailure } from "./failure.ts";
import type { EngineHost } from "./host.ts";
import { inspectModel } from "./inspect.ts";
import { loadModel, type LoadedModel } from "./loader.ts";
import type { EngineMethods, EngineRequest, SessionId } from "./protocol.ts";
import { generate, prefill, type RequestContext } from "./run.ts";
import { createMapTable, type MapTable } from "./memory-map.ts";
import { generateMany, prefillMany, scoreMany } from "./run-many.ts";
import type { Session } from "./sessions.ts";
import { restoreSession, takeSnapshot } from "./snapshots.ts";

export interface Engine {
  /** Works one request; the caller sees to it that there is only one at a time. */
  handle(
    request: Exclude<EngineRequest, { readonly method: "cancel" }>,
    context: RequestContext,
  ): Promise<unknown>;
}

/** One model at a time, its sessions, and what the protocol asks of them. */
export function createEngine(host: EngineHost, candidates: readonly BackendCandidate[]): Engine {
  const passed = new Set<string>();
  let loaded: LoadedModel | null = null;
  let maps: MapTable | null = null;
  let sessions = 0;

  function model(): LoadedModel {
    if (loaded !== null) return loaded;
    throw new EngineFault("no-model", "No model is loaded in the engine.");
  }

  function sessionsOf({ sessions: ids }: { readonly sessions: readonly SessionId[] }): Session[] {
    return ids.map((id) => model().sessions.get(id));
  }

  function mapTable(): MapTable {
    maps ??= createMapTable(model());
    return maps;
  }

  async function unload(): Promise<null> {
    const [gone, mapsOfIt] = [loaded, maps];
    loaded = null;
    maps = null;
    await mapsOfIt?.release();
    await gone?.release();
    return null;
  }

  async function work(
    request: Parameters<Engine["handle"]>[0],
    context: RequestContext,
  ): Promise<EngineMethods[typeof request.method]["out"]> {
    switch (request.method) {
      case "load":
        // The old model goes first: two may not fit.
        await unload();
        loaded = await loadModel(host, candidates, passed, request.input, () => ++sessions);
        return loaded.info;
      case "inspect":
        return await inspectModel(host, request.input.files);
      case "unload":
        return await unload();
      case "create":
        return { session: model().sessions.create().id };
      case "free":
        model().sessions.free(request.input.session);
        return null;
      case "fork":
        return { session: (await model().sessions.fork(request.input.session)).id };
      case "prefill":
        return await prefill(
          model(),
          model().sessions.get(request.input.session),
          request.input,
          context,
        );
      case "generate":
        return await generate(
          model(),
          model().sessions.get(request.input.session),
          request.input,
          context,
        );
      case "prefillMany":
        return await prefillMany(model(), sessionsOf(request.input), request.input, context);
      case "generateMany":
        return await generateMany(model(), sessionsOf(request.input), request.input, context);
      case "score":
        return await score(model(), request.input, context);
      case "scoreMany":
        return await scoreMany(model(), sessionsOf(request.input), request.input.ids, context);
      case "memoryMap":
        return await mapTable().run(request.input, context);
      case "dropMap":
        await mapTable().drop(request.input.map);
        return null;
      case "snapshot":
        return await takeSnapshot(
          model(),
          model().sessions.get(request.input.session),
          request.input,
        );
      case "restore":
        return await restoreSession(model(), request.input);
      case "memory":
        return loaded?.backend.memory() ?? { weights: 0, states: 0, workspace: 0 };
      case "profile":
        return await profile(model(), request.input);
      case "devices":
        return await listDevices(candidates);
    }
  }

  return {
    async handle(request, context) {
      try {
        return await work(request, context);
      } catch (error) {
        // Nothing of a lost device can be used again; the next load starts afresh.
        if (error instanceof KernelError && error.code === "device-lost") await unload();
        throw error;
      }
    },
  };
}

async function profile(
  { backend }: LoadedModel,
  { on }: EngineMethods["profile"]["in"],
): Promise<EngineMethods["profile"]["out"]> {
  const rows = backend.profile?.(on) ?? null;
  const bytesPerSecond = on ? null : ((await backend.copyBandwidth?.()) ?? null);
  return { rows, bytesPerSecond };
}

async function score(
  model: LoadedModel,
  { session, ids }: EngineMethods["score"]["in"],
  context: RequestContext,
): Promise<EngineMethods["score"]["out"]> {
  const scored = await scoreMany(model, [model.sessions.get(session)], [ids], context);
  return { logProbs: scored.logProbs[0] ?? new Float32Array(), cancelled: scored.cancelled };
}

/** Starts every backend for a moment, software adapters too: "doctor" shows what could be asked for by name. */
async function listDevices(
  candidates: readonly BackendCandidate[],
): Promise<EngineMethods["devices"]["out"]> {
  const devices: DeviceInfo[] = [];
  const notes: string[] = [];
  for (const candidate of candidates) {
    try {
      const backend = await candidate.create({ threads: null, allowSoftware: true });
      devices.push(backend.device);
      await backend.release();
    } catch (error) {
      notes.push(`${candidate.name}: ${toFailure(error).message}`);
    }
  }
  return { devices, notes };
}
