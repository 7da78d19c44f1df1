/** Audits: whether the answers of a chat came about as their records say. Nothing is changed by one. */
import type { Handlers } from "../../contract/contract.ts";
import type { Audit, AuditPart, MessageAudit, Provenance } from "../../contract/provenance.ts";
import { TarnError } from "../../contract/errors.ts";
import type { MessageRecord } from "../../store/records.ts";
import { requireChat, requireMessage } from "../chats/chat-view.ts";
import { costOf } from "../chats/costs.ts";
import { prefixHash, type Step } from "../chats/read-path.ts";
import type { TurnContext } from "../chats/turn-context.ts";
import { fromEngine } from "../engine/engine-errors.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import type { Queue } from "../engine/queue.ts";
import { documentsPart, excerptOf, storedPart, tokensPart, wordsPart } from "./findings.ts";
import { createReplay, tokensOf, type NoRoute, type Replay, type Route } from "./replay.ts";

/** Progress is told at most so often, in ms. */
const TELL_EVERY = 150;

export interface Audits {
  readonly handlers: Pick<
    Handlers,
    "messages.provenance" | "chats.audit" | "chats.auditCost" | "chats.stopAudit"
  >;
  /** Gives up the audit that runs. */
  stop(): void;
}

/** An answer whose record there is, with the path down to it. */
interface Recorded {
  readonly record: Provenance;
  readonly path: readonly MessageRecord[];
}

/** @param queue the engine's; an audit makes way for chats */
export function createAudits(
  { store, events, engine }: Pick<TurnContext, "store" | "events" | "engine">,
  queue: Queue,
): Audits {
  let current: AbortController | null = null;

  async function pathOf(chatId: string, messageId: string | null): Promise<MessageRecord[]> {
    const { tipId } = await requireChat(store, chatId);
    if (messageId !== null) await requireMessage(store, chatId, messageId);
    const end = messageId ?? tipId;
    return end === null ? [] : store.run("pathTo", { messageId: end });
  }

  async function recordsOf(path: readonly MessageRecord[]): Promise<ReadonlyMap<string, Recorded>> {
    const records = new Map<string, Recorded>();
    for (const [index, { id: messageId, role }] of path.entries()) {
      if (role !== "assistant") continue;
      const record = await store.run("provenanceOf", { messageId });
      if (record !== null) records.set(messageId, { record, path: path.slice(0, index + 1) });
    }
    return records;
  }

  /** Reads the ids of a path once for each tokenizer, and gives the steps of its records; null where ids are missing. */
  function readSteps(
    whole: readonly MessageRecord[],
  ): (recorded: Recorded) => Promise<Step[] | null> {
    const messageId = whole.at(-1)?.id ?? "";
    const read = new Map<string, Promise<readonly { readonly ids: Int32Array | null }[]>>();
    return async ({ record, path }) => {
      const tokenizerHash = record.tokenizer;
      const rows = read.get(tokenizerHash) ?? store.run("idsOnPath", { messageId, tokenizerHash });
      read.set(tokenizerHash, rows);
      const known = await rows;
      const steps: Step[] = [];
      for (const [index, message] of path.entries()) {
        const ids = known[index]?.ids ?? null;
        if (ids === null) return null;
        steps.push({ message, ids });
      }
      return steps;
    };
  }

  /** The ways to the states of all answers, one behind the other. */
  async function routesOf(
    records: ReadonlyMap<string, Recorded>,
    model: LoadedModel,
    replay: Replay,
  ): Promise<ReadonlyMap<string, Route | NoRoute>> {
    const routes = new Map<string, Route | NoRoute>();
    let reached: string | null = null;
    for (const [messageId, { record }] of records) {
      if (record.state === null || whyNot(record, model) !== null) continue;
      const route: Route | NoRoute = await replay.route(record.state, reached);
      routes.set(messageId, route);
      if (typeof route !== "string") reached = record.state;
    }
    return routes;
  }

  async function audit(
    chatId: string,
    messageId: string | null,
    signal: AbortSignal,
  ): Promise<Audit> {
    const path = await pathOf(chatId, messageId);
    const records = await recordsOf(path);
    const stepsOf = readSteps(path);
    const prints = [...records.values()].flatMap(({ record }) => [...record.turn, record.answer]);
    const model = await engine.model().catch(() => null);
    let done = 0;
    let total = 0;
    let told = 0;
    const replay =
      model === null
        ? null
        : createReplay(store, model, queue, signal, (tokens) => {
            done += tokens;
            if (performance.now() - told < TELL_EVERY && done < total) return;
            told = performance.now();
            events.emit("chat.auditing", { chatId, done, total: Math.max(done, total) });
          });
    const messages: MessageAudit[] = [];
    try {
      const routes =
        model === null || replay === null ? new Map() : await routesOf(records, model, replay);
      for (const route of routes.values()) if (typeof route !== "string") total += tokensOf(route);
      /** Nothing behind a state that could not be reached can be. */
      let isReached = true;
      for (const message of path) {
        if (message.role !== "assistant") continue;
        const recorded = records.get(message.id);
        if (recorded === undefined) {
          messages.push(unrecorded(message));
          continue;
        }
        const { record } = recorded;
        const steps = await stepsOf(recorded);
        const parts: AuditPart[] = [
          tokensPart(record, steps, prints),
          wordsPart(record, recorded.path),
          await documentsPart(store, record),
          await storedPart(store, record),
        ];
        const route = routes.get(message.id);
        const reason = model === null ? NO_MODEL : whyNot(record, model);
        if (reason !== null) parts.push(...notComputed(reason));
        else if (record.state === null) parts.push(...notComputed("No state was kept behind it."));
        else if (route === undefined || typeof route === "string")
          parts.push(...notComputed(whyNoRoute(route, record)));
        else if (steps === null || prefixHash(steps.slice(0, -1)) !== record.prefix) {
          parts.push(
            ...notComputed("What was read before it was changed, so it was not computed again."),
          );
          isReached = false;
        } else if (!isReached || replay === null)
          parts.push(...notComputed("What stands before it could not be computed again."));
        else {
          const computed = await compute(replay, route, record, steps);
          parts.push(...computed);
          isReached = computed.every(({ finding }) => finding !== "unknown");
        }
        messages.push({ messageId: message.id, excerpt: excerptOf(message), ...verdict(parts) });
      }
    } finally {
      await replay?.end();
    }
    const findings = messages.map(({ finding }) => finding);
    return { chatId, finding: worst(findings), tokens: done, messages };
  }

  return {
    handlers: {
      async "messages.provenance"({ chatId, messageId }) {
        await requireMessage(store, chatId, messageId);
        return store.run("provenanceOf", { messageId });
      },
      async "chats.audit"({ chatId, messageId }) {
        const abort = new AbortController();
        current?.abort();
        current = abort;
        try {
          return await audit(chatId, messageId, abort.signal);
        } catch (cause) {
          if (abort.signal.aborted)
            throw new TarnError("cancelled", "The audit was stopped. Nothing was changed.");
          throw fromEngine(cause);
        } finally {
          if (current === abort) current = null;
        }
      },
      async "chats.auditCost"({ chatId, messageId }) {
        const model = engine.ready();
        if (model === null) return costOf(engine, 0);
        const records = await recordsOf(await pathOf(chatId, messageId));
        const replay = createReplay(store, model, queue, AbortSignal.abort(), () => undefined);
        const routes = [...(await routesOf(records, model, replay)).values()];
        const tokens = routes.reduce(
          (sum, route) => sum + (typeof route === "string" ? 0 : tokensOf(route)),
          0,
        );
        return costOf(engine, tokens);
      },
      async "chats.stopAudit"() {
        current?.abort();
        return null;
      },
    },
    stop: () => current?.abort(),
  };
}

const NO_MODEL = "No model is loaded, so nothing could be computed again.";

/** Why the loaded model cannot compute it again, as a sentence; null where it can. */
function whyNot(record: Provenance, { info, wording, entry }: LoadedModel): string | null {
  if (record.model.hash !== info.modelHash || record.tokenizer !== wording.tokenizerHash)
    return `It was written by ${record.model.name} (${record.model.hash.slice(0, 8)}); what is loaded is ${entry.name} (${info.modelHash.slice(0, 8)}). Load that model to compute it again.`;
  if (record.numericVersion !== info.numericVersions[0])
    return `It was computed by version ${record.numericVersion} of the arithmetic; this program has version ${info.numericVersions[0] ?? "none"}, whose bits are others.`;
  const { backend, name } = info.device;
  if (record.backend !== backend || record.device !== name)
    return `It was computed on ${record.backend} (${record.device}); this is ${backend} (${name}), whose bits may be others.`;
  return null;
}

function whyNoRoute(route: NoRoute | undefined, { documents }: Provenance): string {
  if (route === "other-choices")
    return "Some of it was sampled by an earlier version of this program, which drew other tokens for the same seed, and the state behind that is not stored any more.";
  if (route === "other-device")
    return "Some of what stands before it was computed on another device, and that state is not stored any more.";
  const gone = documents.length > 0 ? " A document that it began with may have been removed." : "";
  return `How the state before it was computed is not known.${gone}`;
}

function notComputed(says: string): AuditPart[] {
  return [
    { part: "answer", finding: "unknown", says },
    { part: "state", finding: "unknown", says },
  ];
}

/** The answer written again, and its state computed again. */
async function compute(
  replay: Replay,
  route: Route,
  record: Provenance,
  steps: readonly Step[],
): Promise<AuditPart[]> {
  const all = Int32Array.from(steps.flatMap(({ ids }) => [...ids]));
  const last = route.links.at(-1);
  // What was changed is not run: it may not even be tokens of the model.
  if (last === undefined || last.position !== all.length)
    return notComputed("The stored tokens are more or fewer than were read.");
  const { differsAt, written } = await replay.run(route, all);
  const own = steps.at(-1)?.ids ?? new Int32Array(0);
  const wrong = written === null ? -1 : own.findIndex((id, index) => id !== written[index]);
  const answer: Omit<AuditPart, "part"> =
    written === null
      ? {
          finding: "holds",
          says: "The program put these words in the model's place; it read them.",
        }
      : wrong === -1 && written.length === own.length
        ? { finding: "holds", says: `Written again, all ${own.length} tokens are the same.` }
        : {
            finding: "differs",
            says: `Written again, token ${(wrong === -1 ? Math.min(own.length, written.length) : wrong) + 1} of ${own.length} is another one.`,
          };
  const link = differsAt === null ? null : (route.links[differsAt] ?? null);
  const state: Omit<AuditPart, "part"> =
    link === null
      ? {
          finding: "holds",
          says:
            route.stored === null
              ? `Computed again from the beginning, its state is the same in every bit (${record.state?.slice(0, 8) ?? ""}).`
              : `Computed again from an earlier stored state, its state is the same in every bit (${record.state?.slice(0, 8) ?? ""}).`,
        }
      : {
          finding: "differs",
          says: `Computed again, the state behind ${link.position} tokens is another one.`,
        };
  return [
    { part: "answer", ...answer },
    { part: "state", ...state },
  ];
}

function unrecorded(message: MessageRecord): MessageAudit {
  const isRunning = ["queued", "reading", "writing"].includes(message.status);
  const says = isRunning
    ? "It is still being written."
    : "How it came about was not written down: it was cut off, failed, or is from an earlier version.";
  const parts: AuditPart[] = [{ part: "tokens", finding: "unknown", says }];
  return { messageId: message.id, excerpt: excerptOf(message), finding: "unknown", parts };
}

/** A state that is not stored any more takes nothing from one that was computed again. */
function verdict(parts: AuditPart[]): Pick<MessageAudit, "finding" | "parts"> {
  const isComputed = parts.some(({ part, finding }) => part === "state" && finding === "holds");
  const counted = parts.filter(
    ({ part, finding }) => !(part === "stored" && finding === "unknown" && isComputed),
  );
  return { finding: worst(counted.map(({ finding }) => finding)), parts };
}

function worst(findings: readonly AuditPart["finding"][]): AuditPart["finding"] {
  if (findings.includes("differs")) return "differs";
  return findings.includes("unknown") ? "unknown" : "holds";
}
