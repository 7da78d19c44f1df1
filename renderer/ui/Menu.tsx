import type { ReactNode } from "react";
import { DropdownMenu } from "radix-ui";

interface MenuItem {
  readonly label: string;
  readonly icon: ReactNode;
  /** Takes something away. */
  readonly danger?: boolean;
  run(): void;
}

interface MenuProps {
  /** The button that opens it; must pass on its props and ref. */
  readonly trigger: ReactNode;
  readonly items: readonly MenuItem[];
}

/** A menu behind a button: arrows, type-ahead, Escape; the focus goes back to the button. */
export function Menu({ trigger, items }: MenuProps) {
  return (
    <DropdownMenu.Root modal={false}>
      <DropdownMenu.Trigger asChild>{trigger}</DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content className="menu" align="end" sideOffset={4} collisionPadding={8}>
          {items.map(({ label, icon, danger = false, run }) => (
            <DropdownMenu.Item
              key={label}
              className={`menu-item ${danger ? "danger" : ""}`}
              onSelect={run}
            >
              {icon}
              {label}
            </DropdownMenu.Item>
          ))}
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}
