import { Component, type ReactNode } from "react";
import { Button } from "../ui/Button.tsx";

/** What is shown when a part of the interface breaks: what happened, what was kept, and the way on. */
export class ErrorBoundary extends Component<
  { readonly children: ReactNode },
  { readonly broken: string | null }
> {
  override state = { broken: null };

  static getDerivedStateFromError(error: unknown): { broken: string } {
    return { broken: error instanceof Error ? error.message : String(error) };
  }

  override render(): ReactNode {
    const { broken } = this.state;
    if (broken === null) return this.props.children;
    return (
      <main className="page" role="alert">
        <h1>This window stopped working</h1>
        <p className="q" style={{ margin: "8px 0 16px" }}>
          Your chats are kept. Loading the window again goes on where you were. ({broken})
        </p>
        <Button kind="primary" onClick={() => window.location.reload()}>
          Load again
        </Button>
      </main>
    );
  }
}
