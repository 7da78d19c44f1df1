import type { SamplerSettings } from "../../contract/dto.ts";
import type { MessagePatch } from "../../store/records.ts";
import type { Store } from "../../store/store.ts";
import type { EngineService } from "../engine/engine-service.ts";
import type { Events } from "../events.ts";
import type { SettingsService } from "../settings/settings.ts";
import type { DocumentReadings } from "../documents/document-readings.ts";
import type { StateService } from "../states/state-service.ts";
import { viewMessage } from "./chat-view.ts";

/** What a turn works with. */
export interface TurnContext {
  readonly store: Store;
  readonly events: Events;
  readonly engine: EngineService;
  readonly settings: SettingsService;
  readonly states: StateService;
  readonly readings: DocumentReadings;
}

/** An answer that is to be written. Its message, still empty, is in the store. */
export interface Answer {
  readonly messageId: string;
  /** Asked when the answer begins: only then is it sure which model writes it, and what its hints are. */
  readonly sampler: () => SamplerSettings;
}

/** What the engine is to do for a chat: one answer, or several to the same question in one batch. */
export interface Turn {
  readonly chatId: string;
  readonly answers: readonly [Answer, ...Answer[]];
}

/** Emits `message.changed`. @param patch what holds even where it could not be written */
export async function tellMessage(
  context: Pick<TurnContext, "store" | "events">,
  chatId: string,
  messageId: string,
  patch: MessagePatch = {},
): Promise<void> {
  const found = await context.store.run("messageInChat", { chatId, messageId });
  if (found !== null)
    context.events.emit("message.changed", {
      chatId,
      message: viewMessage({ ...found.message, ...patch }, found.siblings),
    });
}
