import type { Message } from "../../../main/contract/dto.ts";

/** What can be done with a message. Failures are told to the user by whoever implements this. */
export interface MessageActions {
  copy(text: string): void;
  /** True when the changed message is stored and its answer is on the way. */
  edit(message: Message, text: string): Promise<boolean>;
  regenerate(message: Message): void;
  fork(message: Message): void;
  select(messageId: string): void;
  /** Its state is the last to go when there is no room, or one among others again. */
  keepState(message: Message, kept: boolean): void;
  /** Asks how the memory up to here is to be saved as a file. */
  saveMemory(message: Message): void;
  /** Takes the message and all behind it out of the chat; it can be undone. */
  deleteFrom(messageId: string): void;
  /** `place`: a UTF-16 range of the extracted text to show. */
  openDocument(
    documentId: string,
    place: { readonly page: number | null; readonly start: number; readonly end: number } | null,
  ): void;
}
