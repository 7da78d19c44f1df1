import { useEffect, useState, type KeyboardEvent } from "react";
import { Clock } from "lucide-react";
import { Slider } from "radix-ui";
import type { DocumentCheckpoints, DocumentInfo } from "../../../main/contract/dto.ts";
import { useApi, useApiEvent } from "../../client/context.tsx";
import { Button } from "../../ui/Button.tsx";
import { formatSeconds, formatTokens } from "../../ui/format.ts";

interface AsOfProps {
  readonly document: DocumentInfo;
  /** A new chat that has read up to this page and no further; null for all of it. */
  onAsk(page: number | null): void;
}

/** A place in the document, by page: what asking there costs, and the checkpoints where it costs nothing. */
export function AsOf({ document, onAsk }: AsOfProps) {
  const api = useApi();
  const [checkpoints, setCheckpoints] = useState<DocumentCheckpoints | null>(null);
  const [asked, setAsked] = useState(0);
  const last = document.pages ?? 1;
  const [page, setPage] = useState(last);
  const unit = document.pageUnit ?? "page";

  useApiEvent("documents.changed", () => setAsked((count) => count + 1));
  useEffect(() => setPage(last), [document.id, last]);
  useEffect(() => {
    let current = true;
    // Without it the slider stays, just without its price.
    api.call("documents.checkpoints", { documentId: document.id }).then(
      (next) => current && setCheckpoints(next),
      () => current && setCheckpoints(null),
    );
    return () => {
      current = false;
    };
  }, [api, document.id, asked]);

  const move = (next: number): void => setPage(Math.min(Math.max(Math.round(next), 1), last));
  const ticks = (checkpoints?.pages ?? []).filter(({ again }) => again === 0);
  function onKeyDown(event: KeyboardEvent): void {
    if (event.key !== "PageUp" && event.key !== "PageDown") return;
    event.preventDefault();
    const next =
      event.key === "PageUp"
        ? ticks.find((tick) => tick.page > page)?.page
        : ticks.findLast((tick) => tick.page < page)?.page;
    move(next ?? (event.key === "PageUp" ? last : 1));
  }
  const cost = costOf(checkpoints, page);
  return (
    <div className="as-of">
      <span className="small q" id="as-of">{`As of ${unit}`}</span>
      <Slider.Root
        className="slider"
        min={1}
        max={last}
        step={1}
        value={[page]}
        onValueChange={([next]) => next !== undefined && move(next)}
      >
        <Slider.Track className="slider-track">
          <Slider.Range className="slider-range" />
        </Slider.Track>
        {last > 1 &&
          ticks.map((tick) => (
            <i
              key={tick.page}
              className="slider-tick"
              style={{ insetInlineStart: `${(100 * (tick.page - 1)) / (last - 1)}%` }}
            />
          ))}
        <Slider.Thumb
          className="slider-thumb"
          aria-label={`As of ${unit}`}
          aria-valuetext={`${unit} ${page} of ${last}, ${cost}`}
          onKeyDown={onKeyDown}
        />
      </Slider.Root>
      <input
        type="number"
        className="as-of-page"
        aria-label={`${unit} number`}
        min={1}
        max={last}
        value={page}
        onChange={({ target }) =>
          Number.isFinite(target.valueAsNumber) && move(target.valueAsNumber)
        }
      />
      <span className="small q grow">{cost}</span>
      <Button
        icon={<Clock className="i s" />}
        aria-description={cost}
        onClick={() => onAsk(page === last ? null : page)}
      >
        {page === last ? "Ask about all of it" : `Ask as of ${unit} ${page}`}
      </Button>
    </div>
  );
}

function costOf(checkpoints: DocumentCheckpoints | null, page: number): string {
  const place = checkpoints?.pages.find((one) => one.page === page);
  if (checkpoints === null || place === undefined) return "not read yet";
  const { tokensPerSecond } = checkpoints;
  if (place.again === 0) return "0 tokens to re-read";
  const seconds =
    tokensPerSecond === null ? "" : `, about ${formatSeconds(place.again / tokensPerSecond)}`;
  return `re-reads ${formatTokens(place.again)}${seconds}`;
}
