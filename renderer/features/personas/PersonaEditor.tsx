import { useId, useState } from "react";
import { Plus, Trash2 } from "lucide-react";
import type { Example, PersonaText } from "../../../main/contract/dto.ts";
import { Button } from "../../ui/Button.tsx";
import { IconButton } from "../../ui/IconButton.tsx";

interface PersonaEditorProps {
  /** What it begins with. */
  readonly text: PersonaText;
  /** "Make" or "Save". */
  readonly verb: string;
  /** True when it was kept. */
  onSave(text: PersonaText): Promise<boolean>;
  onCancel(): void;
}

const MOST_EXAMPLES = 32;

/** Name, prompt, examples and temperature of a persona. */
export function PersonaEditor({ text, verb, onSave, onCancel }: PersonaEditorProps) {
  const [name, setName] = useState(text.name);
  const [prompt, setPrompt] = useState(text.prompt);
  const [examples, setExamples] = useState<readonly Example[]>(text.examples);
  const [temperature, setTemperature] = useState(text.temperature?.toString() ?? "");
  const [saving, setSaving] = useState(false);
  const ids = useId();
  const whole = examples.every(
    ({ user, assistant }) => user.trim() !== "" && assistant.trim() !== "",
  );
  const says = prompt.trim() !== "" || examples.length > 0;
  const complete = name.trim() !== "" && whole && says;

  async function save(): Promise<void> {
    if (!complete || saving) return;
    setSaving(true);
    await onSave({
      name: name.trim(),
      prompt,
      examples: [...examples],
      temperature: temperature === "" ? null : Number(temperature),
    });
    setSaving(false);
  }
  const change = (at: number, part: Partial<Example>): void =>
    setExamples(examples.map((one, index) => (index === at ? { ...one, ...part } : one)));

  return (
    <form
      className="card persona-editor"
      aria-label="Persona"
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
      onKeyDown={(event) => {
        if (event.key === "Escape") onCancel();
      }}
    >
      <label htmlFor={`${ids}name`}>Name</label>
      <input
        id={`${ids}name`}
        className="title-box"
        // eslint-disable-next-line jsx-a11y/no-autofocus -- the form opens because it was asked for
        autoFocus
        dir="auto"
        maxLength={200}
        value={name}
        onChange={({ target }) => setName(target.value)}
      />
      <label htmlFor={`${ids}prompt`}>System prompt</label>
      <textarea
        id={`${ids}prompt`}
        className="system-prompt"
        rows={5}
        dir="auto"
        maxLength={100_000}
        placeholder="What the model is told before the chat begins."
        value={prompt}
        onChange={({ target }) => setPrompt(target.value)}
      />
      {examples.map((example, at) => (
        // They have no other name than their place.
        <fieldset key={at} className="example">
          <legend className="row small q">
            {`Example ${at + 1}`}
            <IconButton
              label={`Remove example ${at + 1}`}
              icon={<Trash2 className="i s" />}
              onClick={() => setExamples(examples.filter((_, index) => index !== at))}
            />
          </legend>
          <textarea
            className="system-prompt"
            aria-label={`Question of example ${at + 1}`}
            placeholder="What you would say"
            rows={2}
            dir="auto"
            maxLength={20_000}
            value={example.user}
            onChange={({ target }) => change(at, { user: target.value })}
          />
          <textarea
            className="system-prompt"
            aria-label={`Answer of example ${at + 1}`}
            placeholder="What it would answer"
            rows={2}
            dir="auto"
            maxLength={20_000}
            value={example.assistant}
            onChange={({ target }) => change(at, { assistant: target.value })}
          />
        </fieldset>
      ))}
      {examples.length < MOST_EXAMPLES && (
        <div>
          <Button
            kind="ghost"
            icon={<Plus className="i s" />}
            onClick={() => setExamples([...examples, { user: "", assistant: "" }])}
          >
            Add an example
          </Button>
        </div>
      )}
      <div className="setting">
        <label className="lab" htmlFor={`${ids}temperature`}>
          Temperature
          <span className="small q">Empty is as in the settings</span>
        </label>
        <input
          id={`${ids}temperature`}
          type="number"
          min={0}
          max={5}
          step={0.05}
          value={temperature}
          onChange={({ target }) => setTemperature(target.value)}
        />
      </div>
      <div className="row">
        <Button
          kind="primary"
          type="submit"
          disabled={!complete || saving}
          onClick={() => undefined}
        >
          {verb}
        </Button>
        <Button onClick={onCancel}>Cancel</Button>
      </div>
    </form>
  );
}
