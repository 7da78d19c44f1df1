import type { Api, CallOutput } from "../../main/contract/contract.ts";

/**
 * Takes a message and all behind it out of a chat, and offers to bring it back.
 * @throws TarnError
 */
export async function deleteBranch(
  api: Api,
  chatId: string,
  messageId: string,
  tell: (
    text: string,
    options: { readonly action: { readonly label: string; run(): void } },
  ) => void,
  fail: (error: unknown) => void,
): Promise<CallOutput<"messages.deleteBranch">> {
  const gone = await api.call("messages.deleteBranch", { chatId, messageId });
  const { messages } = gone;
  tell(`${messages} ${messages === 1 ? "message was" : "messages were"} deleted.`, {
    action: {
      label: "Undo",
      run: () =>
        void api.call("messages.restoreBranch", { chatId, messageId: gone.messageId }).catch(fail),
    },
  });
  return gone;
}
