import type { Api } from "../../main/contract/contract.ts";
import { createDesktopApi } from "./desktop-api.ts";
import { createSocketApi, type Connection } from "./socket-api.ts";

export interface Client {
  readonly api: Api;
  onConnection(listener: (connection: Connection) => void): () => void;
}

const TOKEN_KEY = "tarn.token";

/** Speaks to whatever started this page: the desktop shell's bridge, or the server that served it. */
export function connect(window: Window): Client {
  if (window.tarn !== undefined) {
    return {
      api: createDesktopApi(window.tarn),
      onConnection(listener) {
        listener("open");
        return () => {};
      },
    };
  }
  const api = createSocketApi(window.location.origin, takeToken(window));
  return { api, onConnection: api.onConnection };
}

/** The token leaves the address bar at once, so that it is in no screenshot and no history; a reload finds it again. */
function takeToken({ location, history, sessionStorage }: Window): string {
  const address = new URL(location.href);
  const given = address.searchParams.get("token");
  if (given === null) return sessionStorage.getItem(TOKEN_KEY) ?? "";
  sessionStorage.setItem(TOKEN_KEY, given);
  address.searchParams.delete("token");
  history.replaceState(null, "", address);
  return given;
}
