import { app, BrowserWindow } from "electron";

/**
 * One program a data folder: two would write one database. The second shows the first's window and ends.
 * @returns whether this is the first
 */
export function allowOneInstance(): boolean {
  if (!app.requestSingleInstanceLock()) {
    app.quit();
    return false;
  }
  app.on("second-instance", () => {
    const shown = BrowserWindow.getAllWindows().find(
      (window) => window.isVisible() || window.isMinimized(),
    );
    if (shown?.isMinimized() === true) shown.restore();
    shown?.focus();
  });
  return true;
}
