import type { EngineClient } from "../engine/client.ts";
import type { CommonOptions } from "./options.ts";

/** Services load a model as the settings say; where the command line says otherwise, that holds. */
export function withOptions(
  engine: EngineClient,
  { backend, threads }: Pick<CommonOptions, "backend" | "threads">,
): EngineClient {
  return {
    async call(method, input, options) {
      if (method !== "load") return await engine.call(method, input, options);
      const said = {
        ...(backend === "auto" ? {} : { backend }),
        ...(threads === null ? {} : { threads }),
      };
      return await engine.call(method, { ...input, ...said }, options);
    },
    close: async () => await engine.close(),
  };
}
