import { app, BrowserWindow, Menu } from "electron";
import type { MenuItemConstructorOptions } from "electron";
import { EVENT_CHANNEL } from "../contract/bridge.ts";
import type { MenuCommand } from "../contract/contract.ts";

/** The application menu. What the system knows is a role; what Tarn knows goes to the window as a `menu.command` event. */
export function installMenu(): void {
  const mac = process.platform === "darwin";
  const settings = command("Settings", "settings", "CmdOrCtrl+,");
  const template: MenuItemConstructorOptions[] = [
    ...(mac
      ? [
          {
            label: app.name,
            submenu: [
              { role: "about" },
              { type: "separator" },
              settings,
              { type: "separator" },
              { role: "services" },
              { type: "separator" },
              { role: "hide" },
              { role: "hideOthers" },
              { role: "unhide" },
              { type: "separator" },
              { role: "quit" },
            ],
          } satisfies MenuItemConstructorOptions,
        ]
      : []),
    {
      label: "File",
      submenu: [
        command("New chat", "new-chat", "CmdOrCtrl+N"),
        { type: "separator" },
        ...(mac ? [] : [settings, { type: "separator" } satisfies MenuItemConstructorOptions]),
        { role: mac ? "close" : "quit" },
      ],
    },
    {
      label: "Edit",
      submenu: [
        { role: "undo" },
        { role: "redo" },
        { type: "separator" },
        { role: "cut" },
        { role: "copy" },
        { role: "paste" },
        { role: "selectAll" },
        { type: "separator" },
        command("Search chats", "search", "CmdOrCtrl+F"),
      ],
    },
    {
      label: "View",
      submenu: [
        { role: "resetZoom" },
        { role: "zoomIn" },
        { role: "zoomOut" },
        { type: "separator" },
        { role: "togglefullscreen" },
        ...(app.isPackaged
          ? []
          : [{ role: "toggleDevTools" } satisfies MenuItemConstructorOptions]),
      ],
    },
    { role: "windowMenu" },
  ];
  Menu.setApplicationMenu(Menu.buildFromTemplate(template));
}

function command(
  label: string,
  name: MenuCommand,
  accelerator: string,
): MenuItemConstructorOptions {
  return {
    label,
    accelerator,
    click: (_item, window) => {
      if (window instanceof BrowserWindow)
        window.webContents.send(EVENT_CHANNEL, "menu.command", { command: name });
    },
  };
}
