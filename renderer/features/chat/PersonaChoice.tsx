import { UserRound } from "lucide-react";
import type { Persona } from "../../../main/contract/dto.ts";
import { roleWords } from "../../client/persona-words.ts";
import { formatCost } from "./use-costs.ts";

interface PersonaChoiceProps {
  readonly personas: readonly Persona[];
  /** Null for none. */
  readonly personaId: string | null;
  onChoose(personaId: string | null): void;
}

/** What a new chat begins with, and what that costs. */
export function PersonaChoice({ personas, personaId, onChoose }: PersonaChoiceProps) {
  const chosen = personas.find(({ id }) => id === personaId);
  const cost = chosen?.cost ?? null;
  const note = roleWords(chosen?.role ?? "system");
  return (
    <div className="persona-choice row small">
      <UserRound className="i s" />
      <label className="row" style={{ gap: 6 }}>
        <span className="q">Persona</span>
        <select
          value={chosen?.id ?? ""}
          onChange={({ target }) => onChoose(target.value === "" ? null : target.value)}
        >
          <option value="">None</option>
          {personas.map(({ id, name }) => (
            <option key={id} value={id}>
              {name}
            </option>
          ))}
        </select>
      </label>
      {cost !== null && (
        <span className="q">{`${formatCost(cost)} to read before your words`}</span>
      )}
      {note !== null && <span className="q">{note}</span>}
    </div>
  );
}
