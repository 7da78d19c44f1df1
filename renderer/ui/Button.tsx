import type { ComponentProps, ReactNode } from "react";

export type ButtonKind = "plain" | "primary" | "ghost";
const KIND = { plain: "btn", primary: "btn p", ghost: "btn g" } as const satisfies Record<
  ButtonKind,
  string
>;

interface ButtonProps extends ComponentProps<"button"> {
  readonly kind?: ButtonKind;
  readonly icon?: ReactNode;
  /** What the click costs, quieter than the verb; a description, never part of the name. */
  readonly cost?: string;
}

/** A button with an optional icon and its cost. */
export function Button({
  kind = "plain",
  icon,
  cost,
  className = "",
  children,
  ...rest
}: ButtonProps) {
  return (
    <button
      type="button"
      className={`${KIND[kind]} ${className}`}
      {...(cost === undefined
        ? {}
        : {
            "aria-description": cost,
            "aria-label": typeof children === "string" ? children : undefined,
            "data-quiet": cost,
          })}
      {...rest}
    >
      {icon}
      <span>{children}</span>
    </button>
  );
}
