import { useCallback, useEffect, useState, type RefObject } from "react";
import { Droplets } from "lucide-react";
import type { DocumentPage, MemoryMap } from "../../../main/contract/dto.ts";
import { toTarnError } from "../../client/check.ts";
import { useApi, useApiEvent } from "../../client/context.tsx";
import { Button } from "../../ui/Button.tsx";
import { formatTokens } from "../../ui/format.ts";
import { paint, spanAt, STEPS } from "./memory-highlights.ts";

interface MemoryMapBarProps {
  readonly documentId: string;
  /** That the document has; null while they are not counted. */
  readonly tokens: number | null;
  /** What is shown of it, in `text`. */
  readonly page: DocumentPage | null;
  readonly text: RefObject<HTMLElement | null>;
}

/** Turns the memory map on and off, and tells in words what it shows in colours. */
export function MemoryMapBar({ documentId, tokens, page, text }: MemoryMapBarProps) {
  const api = useApi();
  const [on, setOn] = useState(false);
  const [layer, setLayer] = useState<number | null>(null);
  const [map, setMap] = useState<MemoryMap | null>(null);
  const [progress, setProgress] = useState<{ done: number; total: number } | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [word, setWord] = useState<string | null>(null);

  useEffect(() => {
    setOn(false);
    setMap(null);
    setProblem(null);
  }, [documentId]);

  const fetchMap = useCallback(async (): Promise<void> => {
    if (page === null) return;
    const { start } = page;
    const end = start + page.text.length;
    try {
      setMap(await api.call("documents.memory", { documentId, start, end, layer }));
    } catch (error) {
      setProblem(toTarnError(error).message);
    }
  }, [api, documentId, layer, page]);
  useEffect(() => {
    setWord(null);
    if (on) void fetchMap();
  }, [on, fetchMap]);

  useEffect(() => {
    const element = text.current;
    if (!on || map === null || page === null || element === null) return;
    return paint(element, page.start, map.spans);
  }, [on, map, page, text]);

  useApiEvent("document.mapping", ({ documentId: mapped, done, total }) => {
    if (mapped === documentId) setProgress({ done, total });
  });

  const toggle = useCallback(async (): Promise<void> => {
    if (on) return setOn(false);
    setProblem(null);
    setProgress({ done: 0, total: 0 });
    try {
      await api.call("documents.mapMemory", { documentId });
      setOn(true);
    } catch (error) {
      setProblem(toTarnError(error).message);
    } finally {
      setProgress(null);
    }
  }, [api, documentId, on]);

  /** "Describe memory here": the word at the caret, or under the pointer's click. */
  useEffect(() => {
    const element = text.current;
    if (!on || map === null || page === null || element === null) return;
    function describe(): void {
      const selection = document.getSelection();
      const node = selection?.focusNode ?? null;
      if (selection === null || node === null || element?.contains(node) !== true) return;
      const before = new Range();
      before.setStart(element, 0);
      before.setEnd(node, selection.focusOffset);
      const found = spanAt(map?.spans ?? [], (page?.start ?? 0) + before.toString().length);
      if (found === null || page === null) return setWord(null);
      const said = page.text.slice(found.start - page.start, found.end - page.start).trim();
      setWord(`“${said}”: ${percent(found.share)} held`);
    }
    document.addEventListener("selectionchange", describe);
    return () => document.removeEventListener("selectionchange", describe);
  }, [on, map, page, text]);

  useEffect(() => {
    function onKey(event: KeyboardEvent): void {
      const typing = event.target instanceof HTMLElement && isEditable(event.target);
      if (event.key !== "m" || event.ctrlKey || event.metaKey || event.altKey || typing) return;
      void toggle();
    }
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [toggle]);

  const spans = map?.spans ?? [];
  const mean = spans.reduce((sum, { share }) => sum + share, 0) / Math.max(spans.length, 1);
  return (
    <div className="memory-bar">
      <Button
        icon={<Droplets className="i s" />}
        aria-pressed={on}
        className={on ? "on" : ""}
        disabled={progress !== null}
        {...(on || tokens === null ? {} : { cost: `reads ${formatTokens(tokens)} again` })}
        onClick={() => void toggle()}
      >
        Memory map
      </Button>
      {progress !== null && (
        <>
          <div
            className="meter grow"
            role="progressbar"
            aria-label="Following the memory back"
            aria-valuemin={0}
            aria-valuemax={progress.total}
            aria-valuenow={progress.done}
          >
            <i style={{ width: `${(100 * progress.done) / Math.max(1, progress.total)}%` }} />
          </div>
          <Button onClick={() => void api.call("documents.stopMapping", {})}>Stop mapping</Button>
        </>
      )}
      {on && map !== null && (
        <>
          <label className="row small q">
            Layer
            <select
              className="select"
              value={layer ?? "all"}
              onChange={({ target }) =>
                setLayer(target.value === "all" ? null : Number(target.value))
              }
            >
              <option value="all">all</option>
              {map.layers.map((name, index) => (
                <option key={name} value={index}>
                  {index + 1}
                </option>
              ))}
            </select>
          </label>
          <span className="row small q" aria-hidden="true">
            {STEPS.map((from, index) => (
              <i key={from} className={`memory-key memory-key-${index + 1}`}>
                {`${100 * from} %`}
              </i>
            ))}
          </span>
          <span className="small q" role="status">
            {word ?? `${percent(mean)} of this page is still held`}
          </span>
        </>
      )}
      {problem !== null && (
        <span className="small danger" role="alert">
          {problem}
        </span>
      )}
    </div>
  );
}

function percent(share: number): string {
  if (share > 0 && share < 0.01) return "less than 1 %";
  return `${Math.round(100 * share)} %`;
}

function isEditable(element: HTMLElement): boolean {
  return element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName);
}
