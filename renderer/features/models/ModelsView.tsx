import { useState } from "react";
import { Check, Cpu, Plus } from "lucide-react";
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
        <div className="row" style={{ gap: 12, flexWrap: "wrap" }}>
          <h1 className="title">Models</h1>
          <span className="q grow">
            State-space and hybrid models: a GGUF file with its parts, or a folder with safetensors.
          </span>
        </div>
        <ul className="entries" style={{ marginBlockStart: 16 }}>
          {models.map((model) => (
            <li key={model.id} className="entry">
              <Cpu className="i" style={{ color: "var(--ink-3)" }} />
              <div className="grow">
                <div className="row">
                  <span className="strong cut">{model.name}</span>
                  {model.bundled && <span className="tag">Ships with Tarn</span>}
                </div>
                <div className="small q">
                  {model.supported
                    ? [
                        model.modelType,
                        model.format === "gguf" ? "GGUF" : "safetensors",
                        formatBytes(model.bytes),
                      ].join(", ")
                    : (model.reason ?? "Not supported.")}
                </div>
              </div>
              {model.id === modelId ? (
                <span className="tag k">
                  <Check className="i s" />
                  In use
                </span>
              ) : (
                <Button
                  disabled={!model.supported}
                  aria-label={`Use ${model.name}`}
                  onClick={() => onUse(model)}
                >
                  Use
                </Button>
              )}
            </li>
          ))}
        </ul>
        <h2 className="hd">Add a model from this computer</h2>
        <form
          className="row"
          onSubmit={(event) => {
            event.preventDefault();
            if (path.trim() !== "") void onAdd(path.trim()).then((added) => added && setPath(""));
          }}
        >
          <label className="field grow">
            <span className="sr">Path of a model</span>
            <input
              value={path}
              placeholder="Path of a .gguf file or a model folder"
              aria-label="Path of a model"
              onChange={(event) => setPath(event.target.value)}
            />
          </label>
          <Button
            kind="primary"
            className="lg"
            type="submit"
            icon={<Plus className="i s" />}
            disabled={path.trim() === ""}
          >
            Add
          </Button>
        </form>
      </div>
    </div>
  );
}
