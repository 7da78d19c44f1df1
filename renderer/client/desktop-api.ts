/** The contract over the desktop shell's preload (main/preload): `window.tarn`. */
import type { Api, CallInput, CallName, CallOutput } from "../../main/contract/contract.ts";
import { checkEvent, checkOutput, toTarnError } from "./check.ts";

/** What the preload puts on the window: nothing of it is typed across the bridge, so all of it is checked here. */
export interface DesktopBridge {
  call(name: string, input: unknown): Promise<unknown>;
  on(name: string, listener: (data: unknown) => void): () => void;
}

declare global {
  interface Window {
    readonly tarn?: DesktopBridge;
  }
}

export function createDesktopApi(bridge: DesktopBridge): Api {
  return {
    async call<N extends CallName>(name: N, input: CallInput<N>): Promise<CallOutput<N>> {
      try {
        return checkOutput(name, await bridge.call(name, input));
      } catch (error) {
        throw toTarnError(error);
      }
    },
    on: (name, listener) =>
      bridge.on(name, (data) => {
        const checked = checkEvent(name, data);
        if (checked !== null) listener(checked);
      }),
  };
}
