/**
 * Personas: made, changed and removed, and read once each by every model that is loaded, in the background: a chat begins with what was
 * read. A chat keeps a copy of the persona that it began with, so that nothing that is done here changes it.
 */
import { randomUUID } from "node:crypto";
import type { Handlers } from "../../contract/contract.ts";
import type { Persona, PersonaText } from "../../contract/dto.ts";
import { TarnError } from "../../contract/errors.ts";
import type { PersonaRecord, StateInfo } from "../../store/records.ts";
import { costOf } from "../chats/costs.ts";
import type { TurnContext } from "../chats/turn-context.ts";
import { toTarnError } from "../dispatch.ts";
import { hashOfIds } from "../documents/document-readings.ts";
import { fromEngine } from "../engine/engine-errors.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import type { Queue } from "../engine/queue.ts";
import { fits } from "../states/state-service.ts";
import { personaIds } from "./persona-ids.ts";

export interface Personas {
  readonly handlers: Pick<
    Handlers,
    "personas.list" | "personas.add" | "personas.change" | "personas.remove"
  >;
  /** Reads those that the loaded model has not read. Call it when a model is ready. */
  start(): void;
  /** Gives up what is being read; `start` reads it again. */
  stop(): Promise<void>;
}

/** @param queue the engine's; reading makes way for all else */
export function createPersonas(
  { store, states, events, engine }: Pick<TurnContext, "store" | "states" | "events" | "engine">,
  queue: Queue,
): Personas {
  let abort = new AbortController();
  let work: Promise<void> = Promise.resolve();

  const list = (): Promise<PersonaRecord[]> => store.run("listPersonas", {});

  async function idsAndState(
    model: LoadedModel,
    persona: PersonaRecord,
  ): Promise<{ readonly ids: Int32Array; readonly state: StateInfo | null }> {
    const ids = await personaIds(model.wording, persona);
    const place = { position: ids.length, prefixHash: hashOfIds(ids) };
    const kept = await states.list({ kind: "persona", id: persona.id }, model.info.modelHash);
    return { ids, state: kept.find((state) => fits(state, model, place)) ?? null };
  }

  function start(): void {
    const { signal } = abort;
    work = work
      .then(async () => {
        for (const { id } of await list()) {
          const model = engine.ready();
          if (signal.aborted || model === null) return;
          await read(model, id, signal);
        }
      })
      .catch((cause: unknown) => {
        // A model that went away takes its sessions along: nothing is wrong with that.
        if (!signal.aborted && engine.ready() !== null)
          events.emit("notice", { kind: "error", text: toTarnError(fromEngine(cause)).message });
      });
  }

  async function read(model: LoadedModel, personaId: string, signal: AbortSignal): Promise<void> {
    const persona = await store.run("getPersona", { personaId });
    if (persona === null) return;
    const { ids, state } = await idsAndState(model, persona);
    if (state !== null || ids.length === 0) return;
    const { session } = await queue.run("background", () => model.engine.call("create", {}));
    try {
      for (let at = 0; at < ids.length;) {
        if (signal.aborted || engine.ready() !== model) return;
        const makeWay = new AbortController();
        const input = { session, ids: ids.slice(at), chunk: null, logits: "none" } as const;
        const began = performance.now();
        const { prefilled } = await queue.run("background", () =>
          model.engine.call("prefill", input, {
            signal: AbortSignal.any([signal, makeWay.signal]),
            onEvent: () => void (queue.isWanted("background") && makeWay.abort()),
          }),
        );
        at += prefilled;
        if (prefilled >= 32) engine.measured(prefilled / ((performance.now() - began) / 1000));
      }
      // Changed meanwhile: it is read again as it is now.
      const now = await store.run("getPersona", { personaId });
      if (now === null || now.updatedAt !== persona.updatedAt) return;
      const place = { position: ids.length, prefixHash: hashOfIds(ids) };
      const owner = { kind: "persona", id: personaId, series: "" } as const;
      await queue.run("background", () => states.save(model, session, owner, place));
    } finally {
      await model.engine.call("free", { session }).catch(() => undefined);
    }
    events.emit("personas.changed", {});
  }

  async function view(persona: PersonaRecord): Promise<Persona> {
    const { id, name, prompt, examples, temperature, updatedAt } = persona;
    const all = await states.list({ kind: "persona", id }, null);
    const facts = {
      id,
      name,
      prompt,
      examples: [...examples],
      temperature,
      updatedAt,
      stateBytes: all.reduce((sum, { storedBytes }) => sum + storedBytes, 0),
    };
    const model = engine.ready();
    if (model === null) return { ...facts, tokens: null, cost: null, role: null };
    const { ids, state } = await idsAndState(model, persona);
    const cost = costOf(engine, state === null ? ids.length : 0);
    return { ...facts, tokens: ids.length, cost, role: model.wording.systemRole };
  }

  async function keep(persona: PersonaRecord): Promise<Persona> {
    await store.run("savePersona", persona);
    events.emit("personas.changed", {});
    start();
    return view(persona);
  }

  return {
    handlers: {
      async "personas.list"() {
        return Promise.all((await list()).map(view));
      },
      async "personas.add"(text) {
        const now = Date.now();
        return keep({ ...checked(text), id: randomUUID(), createdAt: now, updatedAt: now });
      },
      async "personas.change"({ personaId, ...text }) {
        const before = await store.run("getPersona", { personaId });
        if (before === null) throw gone(personaId);
        const after = { ...before, ...checked(text), updatedAt: Date.now() };
        if (wordsOf(before) !== wordsOf(after))
          for (const { id } of await states.list({ kind: "persona", id: personaId }, null))
            await states.drop(id);
        return keep(after);
      },
      async "personas.remove"({ personaId }) {
        if (!(await store.run("removePersona", { personaId }))) throw gone(personaId);
        events.emit("personas.changed", {});
        return null;
      },
    },
    start,
    async stop() {
      abort.abort();
      await work;
      abort = new AbortController();
    },
  };
}

/** @throws TarnError `bad-request` */
function checked(text: PersonaText): PersonaText {
  if (text.prompt.trim() === "" && text.examples.length === 0)
    throw new TarnError("bad-request", "A persona needs a system prompt or an example.");
  return text;
}

function wordsOf({ prompt, examples }: Pick<PersonaText, "prompt" | "examples">): string {
  return JSON.stringify([prompt.trim(), examples.map(({ user, assistant }) => [user, assistant])]);
}

function gone(personaId: string): TarnError {
  return new TarnError("not-found", "This persona was removed. Nothing else was lost.", {
    personaId,
  });
}
