import { useEffect, useId, useState, type ReactNode } from "react";
import type { SamplerSettings, Settings } from "../../../main/contract/dto.ts";

interface SettingsViewProps {
  readonly settings: Settings;
  readonly dataFolder: string | null;
  onChange(change: Partial<Settings>): void;
}

interface NumberField {
  readonly key: keyof SamplerSettings;
  readonly label: string;
  readonly note: string;
  readonly min: number;
  readonly max: number;
  readonly step: number;
}

const SAMPLER: readonly NumberField[] = [
  { key: "temperature", label: "Temperature", note: "0 takes the likeliest token each time. The model that ships is made for 0.", min: 0, max: 5, step: 0.05 },
  { key: "topK", label: "Top k", note: "Only the k likeliest tokens; 0 is off.", min: 0, max: 100_000, step: 1 },
  { key: "topP", label: "Top p", note: "The likeliest tokens that share this probability; 1 is off.", min: 0, max: 1, step: 0.01 },
  { key: "minP", label: "Min p", note: "At least this share of the likeliest token's probability; 0 is off.", min: 0, max: 1, step: 0.01 },
  { key: "repetitionPenalty", label: "Repetition penalty", note: "Above 1 makes repeated tokens less likely; 1 is off.", min: 0.5, max: 3, step: 0.01 },
  { key: "seed", label: "Seed", note: "The same seed gives the same answer.", min: 0, max: 0xffff_ffff, step: 1 },
  { key: "maxTokens", label: "Longest answer", note: "Tokens.", min: 1, max: 1_000_000, step: 1 },
];

/** How Tarn looks, where it computes, and how it answers. Every change is kept at once. */
export function SettingsView({ settings, dataFolder, onChange }: SettingsViewProps) {
  return (
    <div className="scroll" tabIndex={-1}>
      <div className="page" style={{ maxWidth: 820 }}>
        <h1>Settings</h1>
        <h2 className="hd">Appearance</h2>
        <Choice label="Theme" note="" value={settings.theme} onChange={(theme) => onChange({ theme })}
          options={{ system: "As the system", light: "Light", dark: "Dark" }} />
        <Choice label="Spoken while writing" note="For screen readers." value={settings.announce} onChange={(announce) => onChange({ announce })}
          options={{ paragraphs: "Each paragraph", answer: "The whole answer", nothing: "Nothing" }} />
        <h2 className="hd">Engine</h2>
        <Choice label="Computes on" note="A change loads the model again; chats go on." value={settings.backend} onChange={(backend) => onChange({ backend })}
          options={{ auto: "The graphics card, else the CPU", webgpu: "WebGPU", wasm: "CPU (WebAssembly)", reference: "Reference (slow, exact)" }} />
        <h2 className="hd">Answers</h2>
        <SystemPrompt value={settings.systemPrompt} onChange={(systemPrompt) => onChange({ systemPrompt })} />
        {SAMPLER.map((field) => (
          <NumberSetting key={field.key} field={field} value={settings.sampler[field.key]}
            onChange={(value) => onChange({ sampler: { ...settings.sampler, [field.key]: value } })} />
        ))}
        {dataFolder !== null && <p className="small q" style={{ marginBlockStart: 24 }}>Chats, states and documents are kept in <span className="mono">{dataFolder}</span></p>}
      </div>
    </div>
  );
}

function Row({ label, note, children }: { readonly label: string; readonly note: string; readonly children: (id: string) => ReactNode }) {
  const id = useId();
  return (
    <div className="setting">
      <label htmlFor={id}>
        <span className="med">{label}</span>
        {note !== "" && <span className="small q" style={{ display: "block" }}>{note}</span>}
      </label>
      {children(id)}
    </div>
  );
}

interface ChoiceProps<T extends string> {
  readonly label: string;
  readonly note: string;
  readonly value: T;
  readonly options: Readonly<Record<T, string>>;
  onChange(value: T): void;
}

function Choice<T extends string>({ label, note, value, options, onChange }: ChoiceProps<T>) {
  const values = Object.keys(options) as T[];
  return (
    <Row label={label} note={note}>
      {(id) => (
        <select id={id} value={value} onChange={({ target }) => { const next = values.find((one) => one === target.value); if (next !== undefined) onChange(next); }}>
          {values.map((one) => <option key={one} value={one}>{options[one]}</option>)}
        </select>
      )}
    </Row>
  );
}

/** Keeps what is typed until the field is left, so that "0." is not turned into "0" on the way to "0.7". */
function NumberSetting({ field, value, onChange }: { readonly field: NumberField; readonly value: number; onChange(value: number): void }) {
  const [typed, setTyped] = useState(String(value));
  useEffect(() => setTyped(String(value)), [value]);
  function commit(): void {
    const next = Number(typed);
    const fits = typed.trim() !== "" && Number.isFinite(next) && next >= field.min && next <= field.max;
    if (!fits) setTyped(String(value));
    else if (next !== value) onChange(field.step === 1 ? Math.round(next) : next);
  }
  return (
    <Row label={field.label} note={field.note}>
      {(id) => (
        <input id={id} type="number" min={field.min} max={field.max} step={field.step} value={typed}
          onChange={({ target }) => setTyped(target.value)} onBlur={commit} onKeyDown={(event) => event.key === "Enter" && commit()} />
      )}
    </Row>
  );
}

function SystemPrompt({ value, onChange }: { readonly value: string; onChange(value: string): void }) {
  const [typed, setTyped] = useState(value);
  useEffect(() => setTyped(value), [value]);
  return (
    <Row label="System prompt" note="Put before every new chat. Empty is none.">
      {(id) => (
        <textarea id={id} rows={3} value={typed} dir="auto" maxLength={100_000} onChange={({ target }) => setTyped(target.value)} onBlur={() => typed !== value && onChange(typed)} />
      )}
    </Row>
  );
}
