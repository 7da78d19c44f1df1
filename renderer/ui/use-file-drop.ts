import { useEffect, useRef, useState } from "react";

/**
 * Files that are dropped anywhere on the window.
 * @param onFiles told of them; null while somebody else takes them
 * @returns whether files hover over the window now
 */
export function useFileDrop(onFiles: ((files: readonly File[]) => void) | null): boolean {
  const newest = useRef(onFiles);
  useEffect(() => {
    newest.current = onFiles;
  });
  const [hovering, setHovering] = useState(false);
  const takes = onFiles !== null;
  useEffect(() => {
    if (!takes) return undefined;
    function onOver(event: DragEvent): void {
      if (event.dataTransfer?.types.includes("Files") !== true) return;
      event.preventDefault();
      setHovering(true);
    }
    function onLeave(event: DragEvent): void {
      // Leaving the window has nowhere to go to; leaving an element has.
      if (event.relatedTarget === null) setHovering(false);
    }
    function onDrop(event: DragEvent): void {
      setHovering(false);
      const files = [...(event.dataTransfer?.files ?? [])];
      if (event.defaultPrevented || files.length === 0) return;
      event.preventDefault();
      newest.current?.(files);
    }
    window.addEventListener("dragover", onOver);
    window.addEventListener("dragleave", onLeave);
    window.addEventListener("drop", onDrop);
    return () => {
      window.removeEventListener("dragover", onOver);
      window.removeEventListener("dragleave", onLeave);
      window.removeEventListener("drop", onDrop);
      setHovering(false);
    };
  }, [takes]);
  return takes && hovering;
}
