import type { EngineClient } from "../engine/client.ts";
import type { CommonOptions } from "./options.ts";

/** Services load a model as the settings say; where the command line says otherwise, that holds. */
export function withOptions(
  engine: EngineClient,
  { backend, threads, kv }: Pick<CommonOptions, "backend" | "threads" | "kv">,
): EngineClient {
  return {
    async call(method, input, options) {
      if (method !== "load") return await engine.call(method, input, options);
      const said = {
        ...(backend === "auto" ? {} : { backend }),
        ...(threads === null ? {} : { threads }),
        kvDtype: kv,
      };
      return await engine.call(method, { ...input, ...said }, options);
    },
    close: async () => await engine.close(),
  };
}
