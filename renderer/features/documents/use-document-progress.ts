import { useState } from "react";
import type { DocumentInfo, DocumentProgress } from "../../../main/contract/dto.ts";
import { useApiEvent } from "../../client/context.tsx";

/** The documents with how far each one is read right now: events come many times between two lists. */
export function useDocumentProgress(documents: readonly DocumentInfo[]): readonly DocumentInfo[] {
  const [live, setLive] = useState<ReadonlyMap<string, DocumentProgress>>(new Map());
  useApiEvent("document.progress", (progress) =>
    setLive((before) => new Map(before).set(progress.documentId, progress)),
  );
  return documents.map((document) => {
    const progress = live.get(document.id);
    const { reading } = document;
    if (progress === undefined || reading?.status !== "reading") return document;
    const { done, total, tokensPerSecond, secondsLeft } = progress;
    return { ...document, reading: { ...reading, done, total, tokensPerSecond, secondsLeft } };
  });
}
