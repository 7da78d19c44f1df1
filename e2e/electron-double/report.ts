/** What the double tells the test that started it (child_process IPC). */
export type Report =
  | { readonly kind: "browser"; readonly port: number }
  | { readonly kind: "switch"; readonly name: string; readonly value: string | null }
  | {
      readonly kind: "schemes";
      readonly schemes: readonly { readonly scheme: string; readonly privileges?: object }[];
    }
  | {
      readonly kind: "window";
      readonly id: number;
      readonly show: boolean;
      readonly preferences: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: "loaded"; readonly id: number; readonly url: string }
  | { readonly kind: "shown"; readonly id: number }
  | { readonly kind: "menu"; readonly labels: readonly string[] }
  | { readonly kind: "opened"; readonly url: string }
  | { readonly kind: "denied-window"; readonly url: string }
  | { readonly kind: "denied-navigation"; readonly url: string }
  | { readonly kind: "denied-request"; readonly url: string }
  | {
      readonly kind: "permission";
      readonly permission: string;
      readonly granted: boolean;
      readonly checked: boolean;
    }
  /** A script of the window, or of the double in it, threw and nobody caught it. */
  | { readonly kind: "page-error"; readonly url: string; readonly message: string }
  | { readonly kind: "error-box"; readonly title: string; readonly content: string }
  | { readonly kind: "exit"; readonly code: number };

export function tell(report: Report): void {
  process.send?.(report);
}
