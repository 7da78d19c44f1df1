import {
  createContext,
  useCallback,
  useContext,
  useMemo,
  useRef,
  useState,
  type ReactNode,
} from "react";
import { X } from "lucide-react";
import { IconButton } from "./IconButton.tsx";

export interface ToastOptions {
  readonly kind?: "info" | "warning" | "error";
  readonly action?: { readonly label: string; readonly run: () => void };
}
type Tell = (text: string, options?: ToastOptions) => void;

interface Shown extends ToastOptions {
  readonly id: number;
  readonly text: string;
}

/** How long a toast stays unless it is hovered or holds the focus, ms. */
const STAYS_MS = 8000;

const ToastContext = createContext<Tell | null>(null);

/** Says one sentence, with at most one action. */
export function useToast(): Tell {
  const tell = useContext(ToastContext);
  if (tell === null) throw new Error("useToast needs a ToastProvider above it.");
  return tell;
}

export function ToastProvider({ children }: { readonly children: ReactNode }) {
  const [shown, setShown] = useState<readonly Shown[]>([]);
  const nextId = useRef(1);
  const held = useRef(false);

  const remove = useCallback(
    (id: number) => setShown((all) => all.filter((toast) => toast.id !== id)),
    [],
  );
  const leaveLater = useCallback(
    (id: number) => {
      setTimeout(() => {
        if (held.current) leaveLater(id);
        else remove(id);
      }, STAYS_MS);
    },
    [remove],
  );
  const tell = useMemo<Tell>(
    () =>
      (text, options = {}) => {
        const id = nextId.current++;
        setShown((all) =>
          [...all.filter((toast) => toast.text !== text), { ...options, id, text }].slice(-4),
        );
        leaveLater(id);
      },
    [leaveLater],
  );

  const hold = (value: boolean) => () => {
    held.current = value;
  };
  return (
    <ToastContext value={tell}>
      {children}
      <div
        className="toasts"
        onMouseEnter={hold(true)}
        onMouseLeave={hold(false)}
        onFocus={hold(true)}
        onBlur={hold(false)}
      >
        {shown.map(({ id, text, kind = "info", action }) => (
          <div key={id} className={`toast ${kind}`} role={kind === "error" ? "alert" : "status"}>
            <span className="grow">{text}</span>
            {action !== undefined && (
              <button
                type="button"
                className="btn g acc"
                onClick={() => {
                  remove(id);
                  action.run();
                }}
              >
                {action.label}
              </button>
            )}
            <IconButton label="Dismiss" icon={<X className="i s" />} onClick={() => remove(id)} />
          </div>
        ))}
      </div>
    </ToastContext>
  );
}
