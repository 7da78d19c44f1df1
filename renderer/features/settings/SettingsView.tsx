import { useEffect, useId, useState } from "react";
import { ShieldCheck } from "lucide-react";
import type { SamplerSettings, Settings } from "../../../main/contract/dto.ts";
import { Segmented } from "../../ui/Segmented.tsx";
import { StatesSetting } from "./StatesSetting.tsx";

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
  /** Where its slider ends; larger values can still be typed. Null has no slider. */
  readonly slider: number | null;
}

const SAMPLER: readonly NumberField[] = [
  {
    key: "temperature",
    label: "Temperature",
    note: "0 is exact; the model that ships is made for it",
    min: 0,
    max: 5,
    step: 0.05,
    slider: 2,
  },
  { key: "topP", label: "Top-p", note: "1 is off", min: 0, max: 1, step: 0.01, slider: 1 },
  { key: "minP", label: "Min-p", note: "0 is off", min: 0, max: 1, step: 0.01, slider: 1 },
  { key: "topK", label: "Top-k", note: "0 is off", min: 0, max: 100_000, step: 1, slider: 200 },
  {
    key: "repetitionPenalty",
    label: "Repetition",
    note: "1 is off",
    min: 0.5,
    max: 3,
    step: 0.01,
    slider: 2,
  },
  {
    key: "seed",
    label: "Seed",
    note: "The same seed gives the same answer on this computer",
    min: 0,
    max: 0xffff_ffff,
    step: 1,
    slider: null,
  },
  {
    key: "maxTokens",
    label: "Longest answer",
    note: "Tokens",
    min: 1,
    max: 1_000_000,
    step: 1,
    slider: null,
  },
];

const SHORTCUTS: readonly (readonly [string, readonly string[]])[] = [
  ["Search", ["Ctrl", "K"]],
  ["Settings", ["Ctrl", ","]],
  ["Undo in chats", ["Ctrl", "Z"]],
  ["Redo", ["Ctrl", "Shift", "Z"]],
  ["Stop", ["Esc"]],
  ["Edit the last message", ["↑"]],
  ["Next message", ["Alt", "↓"]],
  ["New line", ["Shift", "Enter"]],
];

/** How Tarn answers, where it computes, and how it looks. Every change is kept at once. */
export function SettingsView({ settings, dataFolder, onChange }: SettingsViewProps) {
  return (
    <div className="scroll" tabIndex={-1}>
      <div className="page">
        <h1 className="title">Settings</h1>
        <div className="settings">
          <div>
            <h2>Sampling</h2>
            {SAMPLER.map((field) => (
              <NumberSetting
                key={field.key}
                field={field}
                value={settings.sampler[field.key]}
                onChange={(value) =>
                  onChange({ sampler: { ...settings.sampler, [field.key]: value } })
                }
              />
            ))}
            <h2>System prompt</h2>
            <SystemPrompt
              value={settings.systemPrompt}
              onChange={(systemPrompt) => onChange({ systemPrompt })}
            />
          </div>
          <div>
            <h2>Engine</h2>
            <Choice
              label="Computes on"
              note="A change loads the model again; chats go on"
              value={settings.backend}
              onChange={(backend) => onChange({ backend })}
              options={{
                auto: "Best available",
                webgpu: "GPU (WebGPU)",
                wasm: "CPU (WebAssembly)",
                reference: "Reference (slow)",
              }}
            />
            <StatesSetting
              budget={settings.statesBudget}
              onChange={(statesBudget) => onChange({ statesBudget })}
            />
            <h2>Privacy</h2>
            <div className="privacy">
              <ShieldCheck className="i" />
              <div>
                <span className="strong">Network: none</span>
                <span className="small q">
                  No account, no telemetry. Chats, states and documents stay in the folder below.
                </span>
              </div>
            </div>
            {dataFolder !== null && (
              <div className="setting">
                <span className="lab">Folder</span>
                <span
                  className="mono small q"
                  dir="ltr"
                  style={{ overflowWrap: "anywhere", textAlign: "end" }}
                >
                  {dataFolder}
                </span>
              </div>
            )}
            <h2>Appearance</h2>
            <div className="setting">
              <span className="lab">Theme</span>
              <Segmented
                label="Theme"
                value={settings.theme}
                onChange={(theme) => onChange({ theme })}
                options={{ system: "System", light: "Light", dark: "Dark" }}
              />
            </div>
            <Choice
              label="Spoken while writing"
              note="For screen readers"
              value={settings.announce}
              onChange={(announce) => onChange({ announce })}
              options={{
                paragraphs: "Each paragraph",
                answer: "The whole answer",
                nothing: "Nothing",
              }}
            />
            <h2>Shortcuts</h2>
            <dl className="shortcuts">
              {SHORTCUTS.map(([what, keys]) => (
                <div key={what} className="row">
                  <dt className="grow">{what}</dt>
                  <dd className="row" style={{ gap: 4 }}>
                    {keys.map((key) => (
                      <kbd key={key}>{key}</kbd>
                    ))}
                  </dd>
                </div>
              ))}
            </dl>
          </div>
        </div>
      </div>
    </div>
  );
}

function Label({
  id,
  label,
  note,
}: {
  readonly id: string;
  readonly label: string;
  readonly note: string;
}) {
  return (
    <div className="lab">
      <label htmlFor={id}>{label}</label>
      {note !== "" && (
        <span id={`${id}-note`} className="small q">
          {note}
        </span>
      )}
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
  const id = useId();
  const values = Object.keys(options) as T[];
  function choose(chosen: string): void {
    const next = values.find((one) => one === chosen);
    if (next !== undefined) onChange(next);
  }
  return (
    <div className="setting">
      <Label id={id} label={label} note={note} />
      <select
        id={id}
        aria-describedby={`${id}-note`}
        value={value}
        onChange={({ target }) => choose(target.value)}
      >
        {values.map((one) => (
          <option key={one} value={one}>
            {options[one]}
          </option>
        ))}
      </select>
    </div>
  );
}

/** Keeps what is typed until the field is left, so that "0." is not turned into "0" on the way to "0.7". */
function NumberSetting({
  field,
  value,
  onChange,
}: {
  readonly field: NumberField;
  readonly value: number;
  onChange(value: number): void;
}) {
  const id = useId();
  const [typed, setTyped] = useState(String(value));
  useEffect(() => setTyped(String(value)), [value]);
  function commit(): void {
    const next = Number(typed);
    const fits =
      typed.trim() !== "" && Number.isFinite(next) && next >= field.min && next <= field.max;
    if (!fits) setTyped(String(value));
    else if (next !== value) onChange(field.step === 1 ? Math.round(next) : next);
  }
  return (
    <div className="setting">
      <Label id={id} label={field.label} note={field.note} />
      {field.slider !== null && (
        <input
          type="range"
          className="grow"
          aria-label={`${field.label}, slider`}
          min={field.min}
          max={field.slider}
          step={field.step}
          value={Math.min(Number(typed), field.slider)}
          onChange={({ target }) => setTyped(target.value)}
          onPointerUp={commit}
          onKeyUp={commit}
          onBlur={commit}
        />
      )}
      <input
        id={id}
        aria-describedby={`${id}-note`}
        type="number"
        className={field.slider === null ? "wide" : ""}
        min={field.min}
        max={field.max}
        step={field.step}
        value={typed}
        onChange={({ target }) => setTyped(target.value)}
        onBlur={commit}
        onKeyDown={(event) => event.key === "Enter" && commit()}
      />
    </div>
  );
}

function SystemPrompt({
  value,
  onChange,
}: {
  readonly value: string;
  onChange(value: string): void;
}) {
  const [typed, setTyped] = useState(value);
  useEffect(() => setTyped(value), [value]);
  return (
    <textarea
      className="system-prompt"
      aria-label="System prompt"
      placeholder="Put before every new chat. Empty is none."
      rows={4}
      value={typed}
      dir="auto"
      maxLength={100_000}
      onChange={({ target }) => setTyped(target.value)}
      onBlur={() => typed !== value && onChange(typed)}
    />
  );
}
