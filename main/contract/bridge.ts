/**
 * What the desktop shell's preload puts on the window. Kept free of the schema library, because the preload is bundled
 * whole into every window: main and the client check what crosses, the preload only carries it.
 */

/** Request and answer: `(name, input)` → `BridgeReply`. */
export const CALL_CHANNEL = "tarn:call";
/** Main to window: `(name, data)`. */
export const EVENT_CHANNEL = "tarn:event";

/** Errors cross as data: Electron keeps nothing but the message of an Error. */
export type BridgeReply =
  | { readonly ok: true; readonly output: unknown }
  | {
      readonly ok: false;
      readonly error: {
        readonly code: string;
        readonly message: string;
        readonly data: Readonly<Record<string, string | number>>;
      };
    };

/** Main to the hidden engine window, with the engine's end of a message channel as the one port. */
export const ENGINE_PORT_CHANNEL = "tarn:engine-port";
/** Where the engine window finds registered weight files: `WEIGHTS_PATH + id`, read by ranges. */
export const WEIGHTS_PATH = "/weights/";
