import { useEffect, useRef } from "react";
import { STATE_FILE_ENDING } from "../../client/state-files.ts";

/** A memory's file that is dropped anywhere on the window, before anything else takes it for a document. */
export function useMemoryDrop(onFile: (file: File) => void): void {
  const newest = useRef(onFile);
  useEffect(() => {
    newest.current = onFile;
  });
  useEffect(() => {
    function onDrop(event: DragEvent): void {
      const file = [...(event.dataTransfer?.files ?? [])].find(({ name }) =>
        name.toLowerCase().endsWith(STATE_FILE_ENDING),
      );
      if (file === undefined) return;
      // Who else listens sees that it is taken.
      event.preventDefault();
      newest.current(file);
    }
    window.addEventListener("drop", onDrop, { capture: true });
    return () => window.removeEventListener("drop", onDrop, { capture: true });
  }, []);
}
