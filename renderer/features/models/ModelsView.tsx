import { useState } from "react";
import { Cpu, Plus } from "lucide-react";
import type { ModelEntry } from "../../../main/contract/dto.ts";
import { Button } from "../../ui/Button.tsx";
import { formatBytes } from "../../ui/format.ts";

interface ModelsViewProps {
  readonly models: readonly ModelEntry[];
  readonly modelId: string | null;
  onUse(model: ModelEntry): void;
  /** True when it was added. */
  onAdd(path: string): Promise<boolean>;
}

/** The models on this computer, and which of them answers. */
export function ModelsView({ models, modelId, onUse, onAdd }: ModelsViewProps) {
  const [path, setPath] = useState("");
  return (
    <div className="scroll" tabIndex={-1}>
      <div className="page">
        <h1>Models</h1>
        <p className="q" style={{ margin: "6px 0 16px" }}>Mamba and Mamba-2, as a GGUF file or as a Hugging Face folder with safetensors.</p>
        <ul className="card">
          {models.map((model) => (
            <li key={model.id} className="table-row">
              <Cpu className="i" style={{ color: "var(--ink-3)" }} />
              <div className="grow">
                <div className="row">
                  <span className="strong cut">{model.name}</span>
                  {model.bundled && <span className="tag">Ships with Tarn</span>}
                  {model.id === modelId && <span className="tag k">In use</span>}
                </div>
                <div className="small q">{model.supported ? [model.modelType, model.format === "gguf" ? "GGUF" : "safetensors", formatBytes(model.bytes)].join(", ") : (model.reason ?? "Not supported.")}</div>
              </div>
              <Button disabled={!model.supported || model.id === modelId} aria-label={`Use ${model.name}`} onClick={() => onUse(model)}>Use</Button>
            </li>
          ))}
        </ul>
        <form
          className="row"
          style={{ marginBlockStart: 16 }}
          onSubmit={(event) => {
            event.preventDefault();
            if (path.trim() !== "") void onAdd(path.trim()).then((added) => added && setPath(""));
          }}
        >
          <label className="field grow">
            <span className="sr">Path of a model</span>
            <input value={path} placeholder="Path of a .gguf file or a model folder" aria-label="Path of a model" onChange={(event) => setPath(event.target.value)} />
          </label>
          <Button kind="primary" className="lg" type="submit" icon={<Plus className="i s" />} disabled={path.trim() === ""}>Add</Button>
        </form>
      </div>
    </div>
  );
}
