import type { ReactNode } from "react";
import { Dialog as Primitive } from "radix-ui";

interface DialogProps {
  readonly title: string;
  /** What it is about, in one sentence; read with the title. */
  readonly description: string;
  readonly children: ReactNode;
  onClose(): void;
}

/** For what asks for input. The focus is kept in it and goes back where it was; Escape closes. */
export function Dialog({ title, description, children, onClose }: DialogProps) {
  return (
    <Primitive.Root open onOpenChange={(open) => !open && onClose()}>
      <Primitive.Portal>
        <Primitive.Overlay className="dialog-scrim" />
        <Primitive.Content className="dialog">
          <Primitive.Title className="strong" dir="auto">
            {title}
          </Primitive.Title>
          <Primitive.Description className="q">{description}</Primitive.Description>
          {children}
        </Primitive.Content>
      </Primitive.Portal>
    </Primitive.Root>
  );
}
