/** `node --import …/register.ts out/main/index.js` runs the real main bundle with the double in Electron's place. */
import { registerHooks } from "node:module";

const double = new URL("./electron.ts", import.meta.url).href;

registerHooks({
  resolve: (specifier, context, next) =>
    specifier === "electron"
      ? { url: double, format: "module-typescript", shortCircuit: true }
      : next(specifier, context),
});
