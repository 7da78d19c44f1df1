import { useEffect, useId, useState } from "react";
import type { StateSizes } from "../../../main/contract/dto.ts";
import { useApi } from "../../client/context.tsx";
import { formatBytes } from "../../ui/format.ts";

/** Bytes to choose from. */
const BUDGETS = [1e9, 2e9, 4e9, 8e9, 16e9, 32e9, 64e9, 128e9];

interface StatesSettingProps {
  readonly budget: number;
  onChange(budget: number): void;
}

/** How much disk the memory of chats and documents may take, and takes. */
export function StatesSetting({ budget, onChange }: StatesSettingProps) {
  const api = useApi();
  const id = useId();
  const [sizes, setSizes] = useState<StateSizes | null>(null);
  useEffect(() => {
    let isShown = true;
    // Without the figure the setting is as useful.
    void api.call("states.sizes", {}).then(
      (next) => isShown && setSizes(next),
      () => undefined,
    );
    return () => {
      isShown = false;
    };
  }, [api, budget]);
  const used = sizes?.bytes ?? 0;
  const options = [...new Set([...BUDGETS, budget])].toSorted((a, b) => a - b);
  return (
    <>
      <div className="setting">
        <div className="lab">
          <label htmlFor={id}>Room for memory</label>
          <span id={`${id}-note`} className="small q">
            What does not fit is read again when it is needed; words are always kept
          </span>
        </div>
        <select
          id={id}
          aria-describedby={`${id}-note`}
          value={budget}
          onChange={({ target }) => onChange(Number(target.value))}
        >
          {options.map((bytes) => (
            <option key={bytes} value={bytes}>
              {formatBytes(bytes)}
            </option>
          ))}
        </select>
      </div>
      <div
        className="meter"
        role="meter"
        aria-label="Memory on this disk"
        aria-valuemin={0}
        aria-valuemax={budget}
        aria-valuenow={Math.min(used, budget)}
        aria-valuetext={`${formatBytes(used)} of ${formatBytes(budget)}`}
      >
        <i style={{ width: `${Math.min(100, (100 * used) / budget)}%` }} />
      </div>
      <p className="small q mt-1">
        {sizes === null
          ? "Counting."
          : `${formatBytes(used)} of ${formatBytes(budget)} used, ${sizes.snapshots.toLocaleString("en")} ${sizes.snapshots === 1 ? "place" : "places"} to go on from${sizes.pinned === 0 ? "" : `, ${sizes.pinned.toLocaleString("en")} of them kept by you`}`}
      </p>
    </>
  );
}
