import { useCallback, useEffect, useState } from "react";
import type { Persona } from "../../main/contract/dto.ts";
import { useApi, useApiEvent } from "./context.tsx";

/** The personas, and what each costs with the model that is loaded. Null until they are there. */
export function usePersonas(onError: (error: unknown) => void): readonly Persona[] | null {
  const api = useApi();
  const [personas, setPersonas] = useState<readonly Persona[] | null>(null);
  const [model, setModel] = useState<string | null>(null);
  const load = useCallback(() => {
    api.call("personas.list", {}).then(setPersonas, onError);
  }, [api, onError]);
  // What they cost is told by the model: another one has to read them for itself.
  useEffect(load, [load, model]);
  useApiEvent("personas.changed", load);
  useApiEvent("engine.status", ({ phase, modelId }) =>
    setModel(phase === "loading" || phase === "starting" ? null : modelId),
  );
  return personas;
}
