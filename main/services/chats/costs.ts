/** What going on from the messages of a chat would cost, before anyone asks for it. */
import { createHash } from "node:crypto";
import type { ChatCosts, Cost } from "../../contract/dto.ts";
import type { MessageRecord, StateInfo } from "../../store/records.ts";
import type { Store } from "../../store/store.ts";
import type { DocumentReadings } from "../documents/document-readings.ts";
import type { EngineService, LoadedModel } from "../engine/engine-service.ts";
import { belongsTo, fits, type StateService } from "../states/state-service.ts";
import { requireChat } from "./chat-view.ts";
import { stateInFirst } from "./read-path.ts";

/** @throws TarnError `not-found` */
export async function chatCosts(
  { store, states, engine, readings }: CostContext,
  chatId: string,
): Promise<ChatCosts | null> {
  const { tipId } = await requireChat(store, chatId);
  const model = engine.ready();
  if (model === null) return null;
  if (tipId === null) return { messages: [], reason: null };
  const path = await store.run("pathTo", { messageId: tipId });
  const { tokenizerHash } = model.wording;
  const known = await store.run("idsOnPath", { messageId: tipId, tokenizerHash });
  const stored = await states.onPath(tipId, null);
  const toCost = (tokens: number): Cost => costOf(engine, tokens);

  const messages: ChatCosts["messages"] = [];
  const prefix = createHash("sha256");
  let position: number | null = 0;
  let tokens = 0;
  for (const [index, message] of path.entries()) {
    const before = toCost(tokens);
    const ids = known[index]?.ids ?? null;
    if (ids === null) {
      // Read by no tokenizer, or by another one, whose count is near enough for an estimate.
      position = null;
      tokens += await estimate(model, message);
    } else {
      prefix.update(new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));
      tokens += ids.length;
      if (position !== null) {
        position += ids.length;
        const place = { position, prefixHash: prefix.copy().digest("hex") };
        if (stored.some((state) => state.owner.id === message.id && fits(state, model, place)))
          tokens = 0;
        else if (index === 0)
          tokens -=
            (await stateInFirst({ states, readings }, model, { message, ids }))?.position ?? 0;
      }
    }
    const isPinned = stored.some((state) => state.owner.id === message.id && state.pinned);
    messages.push({ messageId: message.id, before, behind: toCost(tokens), isPinned });
  }
  return { messages, reason: tokens === 0 ? null : reasonFor(model, stored, tipId) };
}

/** What costs are told from. */
export interface CostContext {
  readonly store: Store;
  readonly states: StateService;
  readonly engine: EngineService;
  readonly readings: DocumentReadings;
}

/** Tokens to read, with the time that they take at the speed that was measured. */
export function costOf(engine: EngineService, tokens: number): Cost {
  const speed = engine.readingSpeed();
  return { tokens, seconds: tokens === 0 ? 0 : speed === null ? null : tokens / speed };
}

async function estimate(model: LoadedModel, { tokens, text }: MessageRecord): Promise<number> {
  return tokens > 0 || text === "" ? tokens : await model.wording.countTokens(text);
}

function reasonFor(
  model: LoadedModel,
  stored: readonly StateInfo[],
  tipId: string,
): NonNullable<ChatCosts["reason"]> {
  const atTip = stored.filter((state) => state.owner.id === tipId);
  if (atTip.length === 0 || atTip.some((state) => belongsTo(state, model))) return "not-stored";
  const sameWords = atTip.some(
    ({ modelHash, tokenizerHash }) =>
      modelHash === model.info.modelHash && tokenizerHash === model.wording.tokenizerHash,
  );
  return sameWords ? "older-version" : "other-model";
}
