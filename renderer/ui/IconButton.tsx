import type { ComponentProps, ReactNode } from "react";

interface IconButtonProps extends Omit<ComponentProps<"button">, "aria-label" | "title"> {
  /** The accessible name, and the tooltip. */
  readonly label: string;
  readonly icon: ReactNode;
  readonly kind?: "ghost" | "primary";
}

/** A square button that shows only an icon. */
export function IconButton({
  label,
  icon,
  kind = "ghost",
  className = "",
  ...rest
}: IconButtonProps) {
  return (
    <button
      type="button"
      className={`btn sq ${kind === "primary" ? "p" : "g"} ${className}`}
      aria-label={label}
      title={label}
      {...rest}
    >
      {icon}
    </button>
  );
}
