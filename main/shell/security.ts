/** What every webContents of this program is held to, whatever it shows. */
import { app, shell } from "electron";
import type { Session, WebPreferences } from "electron";
import { allowedLink } from "../services/app.ts";
import { isAppUrl, UI_ORIGIN } from "./origins.ts";

/** The preferences of every window; `preload` is the only difference between them. */
export function sandboxed(preload: string): WebPreferences {
  return {
    preload,
    sandbox: true,
    contextIsolation: true,
    nodeIntegration: false,
    nodeIntegrationInWorker: false,
    nodeIntegrationInSubFrames: false,
    webSecurity: true,
    webviewTag: false,
    navigateOnDragDrop: false,
    spellcheck: false,
  };
}

/** No navigation, no new window, no webview, in any contents that will ever be made. Call before the first window. */
export function guardContents(): void {
  app.on("web-contents-created", (_event, contents) => {
    contents.on("will-navigate", (event) => event.preventDefault());
    contents.on("will-redirect", (event) => event.preventDefault());
    contents.on("will-attach-webview", (event) => event.preventDefault());
    // A link that wants a window of its own goes the one way out, or nowhere.
    contents.setWindowOpenHandler(({ url }) => {
      openLink(url).catch((error: unknown) => console.error(error));
      return { action: "deny" };
    });
  });
}

/** Denies every permission and device, and everything that would leave the program: `app:` is the only scheme that loads. */
export function guardSession(session: Session): void {
  session.setPermissionRequestHandler((_contents, _permission, answer) => answer(false));
  session.setPermissionCheckHandler(() => false);
  session.setDevicePermissionHandler(() => false);
  session.on("will-download", (event, item) => {
    // A file that the interface has made itself: the system asks where it is to be saved.
    if (!item.getURL().startsWith(`blob:${UI_ORIGIN}/`)) event.preventDefault();
  });
  session.webRequest.onBeforeRequest((details, answer) => {
    const own = isAppUrl(details.url) || /^(?:blob:app:|data:|devtools:)/.test(details.url);
    answer({ cancel: !own });
  });
}

/**
 * The only use of `openExternal`, behind the services' one gate for links.
 * @throws TarnError `bad-request` for anything but http, https and mailto
 */
export async function openLink(url: string): Promise<void> {
  await shell.openExternal(allowedLink(url));
}
