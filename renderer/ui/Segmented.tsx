import { useId } from "react";

interface SegmentedProps<T extends string> {
  /** Accessible name of the group. */
  readonly label: string;
  readonly value: T;
  readonly options: Readonly<Record<T, string>>;
  onChange(value: T): void;
}

/** One of a few, all in sight: radio buttons drawn as one control. */
export function Segmented<T extends string>({
  label,
  value,
  options,
  onChange,
}: SegmentedProps<T>) {
  const name = useId();
  const values = Object.keys(options) as T[];
  return (
    <div className="seg" role="radiogroup" aria-label={label}>
      {values.map((one) => (
        <label key={one} className={one === value ? "on" : ""}>
          <input
            type="radio"
            className="sr"
            name={name}
            checked={one === value}
            onChange={() => onChange(one)}
          />
          {options[one]}
        </label>
      ))}
    </div>
  );
}
