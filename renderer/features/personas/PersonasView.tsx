import { useState } from "react";
import { Copy, MessageSquare, Pencil, Plus, Trash2, UserRound } from "lucide-react";
import type { Cost, Persona, PersonaText } from "../../../main/contract/dto.ts";
import { toTarnError } from "../../client/check.ts";
import { useApi } from "../../client/context.tsx";
import { roleWords } from "../../client/persona-words.ts";
import { Button } from "../../ui/Button.tsx";
import { formatBytes, formatSeconds, formatTokens } from "../../ui/format.ts";
import { IconButton } from "../../ui/IconButton.tsx";
import { useToast } from "../../ui/toasts.tsx";
import { PersonaEditor } from "./PersonaEditor.tsx";

interface PersonasViewProps {
  /** Null until they are there. */
  readonly personas: readonly Persona[] | null;
  /** A new chat that begins with it. */
  onChat(persona: Persona): void;
}

const EMPTY: PersonaText = { name: "", prompt: "", examples: [], temperature: null };

/** What is being written: a new persona, or another version of one. */
interface Draft {
  readonly personaId: string | null;
  readonly text: PersonaText;
}

/** The personas: made, changed, copied, removed, and begun with. */
export function PersonasView({ personas, onChat }: PersonasViewProps) {
  const api = useApi();
  const tell = useToast();
  const [draft, setDraft] = useState<Draft | null>(null);

  async function attempt(work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      tell(toTarnError(error).message, { kind: "error" });
      return false;
    }
  }
  async function save({ personaId }: Draft, text: PersonaText): Promise<boolean> {
    const kept = await attempt(() =>
      personaId === null
        ? api.call("personas.add", text)
        : api.call("personas.change", { ...text, personaId }),
    );
    if (kept) setDraft(null);
    if (kept && personaId !== null)
      tell("Saved. Chats that began with it before stay as they are.");
    return kept;
  }
  async function remove(persona: Persona): Promise<void> {
    if (!(await attempt(() => api.call("personas.remove", { personaId: persona.id })))) return;
    tell(`“${persona.name}” was removed. Chats that began with it stay as they are.`, {
      action: {
        label: "Undo",
        run: () => void attempt(() => api.call("personas.add", textOf(persona))),
      },
    });
  }

  const makeButton = (
    <Button
      kind="primary"
      className="lg"
      icon={<Plus className="i s" />}
      onClick={() => setDraft({ personaId: null, text: EMPTY })}
    >
      New persona
    </Button>
  );
  const role = personas?.find((one) => one.role !== null)?.role ?? null;
  return (
    <div className="scroll library" tabIndex={-1}>
      <div className="page">
        <div className="row" style={{ gap: 12, flexWrap: "wrap" }}>
          <h1 className="title">Personas</h1>
          <span className="q grow hide-narrow">
            What a chat is told first. It is read once; any chat then begins from there at once.
          </span>
          {personas !== null && personas.length > 0 && draft === null && makeButton}
        </div>
        {draft !== null && (
          <PersonaEditor
            key={draft.personaId}
            text={draft.text}
            verb={draft.personaId === null ? "Make" : "Save"}
            onSave={(text) => save(draft, text)}
            onCancel={() => setDraft(null)}
          />
        )}
        {personas?.length === 0 && draft === null && (
          <div className="empty">
            <span className="badge">
              <UserRound className="i" />
            </span>
            <div>
              <h2>No personas yet</h2>
              <p className="q">
                Write down how the model is to answer, with examples if you like. Chats can then
                begin with it, and read nothing but your own words.
              </p>
              <div className="row" style={{ marginBlockStart: 12 }}>
                {makeButton}
              </div>
            </div>
          </div>
        )}
        {personas !== null && personas.length > 0 && (
          <ul className="entries" aria-label="Personas" style={{ marginBlockStart: 16 }}>
            {personas.map((persona) => (
              <li key={persona.id} className="entry">
                <UserRound className="i" />
                <div className="grow">
                  <div className="med cut" dir="auto">
                    {persona.name}
                  </div>
                  <div className="small q cut" dir="auto">
                    {factsOf(persona)}
                  </div>
                </div>
                <IconButton
                  label={`Edit ${persona.name}`}
                  icon={<Pencil className="i s" />}
                  onClick={() => setDraft({ personaId: persona.id, text: textOf(persona) })}
                />
                <IconButton
                  label={`Duplicate ${persona.name}`}
                  icon={<Copy className="i s" />}
                  onClick={() =>
                    setDraft({
                      personaId: null,
                      text: { ...textOf(persona), name: `${persona.name} (copy)` },
                    })
                  }
                />
                <IconButton
                  label={`Remove ${persona.name}`}
                  icon={<Trash2 className="i s" />}
                  onClick={() => void remove(persona)}
                />
                <Button
                  icon={<MessageSquare className="i s" />}
                  aria-label={`Chat with ${persona.name}`}
                  {...(persona.cost === null ? {} : { cost: costWords(persona.cost) })}
                  onClick={() => onChat(persona)}
                >
                  Chat
                </Button>
              </li>
            ))}
          </ul>
        )}
        {role !== null && roleWords(role) !== null && (
          <p className="foot small q">{roleWords(role)}</p>
        )}
      </div>
    </div>
  );
}

function textOf({ name, prompt, examples, temperature }: Persona): PersonaText {
  return { name, prompt, examples, temperature };
}

function factsOf({ prompt, examples, tokens, cost, stateBytes, temperature }: Persona): string {
  const read = cost?.tokens === 0 ? `read, ${formatBytes(stateBytes)}` : "being read";
  return [
    ...(tokens === null ? [] : [formatTokens(tokens)]),
    ...(cost === null ? [] : [read]),
    ...(examples.length === 0
      ? []
      : [`${examples.length} ${examples.length === 1 ? "example" : "examples"}`]),
    ...(temperature === null ? [] : [`temperature ${temperature}`]),
    ...(prompt.trim() === "" ? [] : [`“${prompt.trim().replaceAll(/\s+/g, " ")}”`]),
  ].join(" · ");
}

/** What beginning with it costs beyond the first words: "0 tokens". */
function costWords({ tokens, seconds }: Cost): string {
  const time = seconds === null || seconds < 0.5 ? "" : `, about ${formatSeconds(seconds)}`;
  return `${formatTokens(tokens)}${time}`;
}
