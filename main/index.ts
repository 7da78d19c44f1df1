/** Boot of the desktop program: what must happen before Electron is ready, then the rest once it is. */
import { app, dialog } from "electron";
import { declareAppScheme } from "./shell/app-protocol.ts";
import { useDataFolder } from "./shell/data-folder.ts";
import { startDesktop } from "./shell/desktop.ts";
import { allowOneInstance } from "./shell/instance.ts";
import { guardContents } from "./shell/security.ts";
import { switchOnWebGpu } from "./shell/switches.ts";

declareAppScheme();
switchOnWebGpu();
guardContents();
const dataFolder = useDataFolder(process.argv);

if (allowOneInstance()) {
  app
    .whenReady()
    .then(() => startDesktop(dataFolder))
    .catch((error: unknown) => {
      // Typed errors are full sentences: another Tarn has the folder, the disk is full, the database is damaged.
      dialog.showErrorBox(
        "Tarn could not start",
        error instanceof Error ? error.message : String(error),
      );
      app.exit(1);
    });
}
