import { useCallback, useRef, useState } from "react";
import { MAX_DOCUMENT_BYTES, type DocumentInfo } from "../../../main/contract/dto.ts";
import { toTarnError } from "../../client/check.ts";
import { useApi } from "../../client/context.tsx";
import { formatBytes } from "../../ui/format.ts";

export type Attachment =
  | { readonly key: number; readonly name: string; readonly state: "extracting" }
  | { readonly key: number; readonly name: string; readonly state: "ready"; readonly document: DocumentInfo }
  | { readonly key: number; readonly name: string; readonly state: "failed"; readonly reason: string };

export interface Attachments {
  readonly all: readonly Attachment[];
  add(files: Iterable<File>): void;
  remove(key: number): void;
  clear(): void;
  /** Waits until nothing is being extracted; the documents that are ready then, or null if one failed. */
  settled(): Promise<readonly DocumentInfo[] | null>;
}

/** The files beside the message that is being written. A file is extracted as soon as it is chosen. */
export function useAttachments(): Attachments {
  const api = useApi();
  const [all, setAll] = useState<readonly Attachment[]>([]);
  const running = useRef(new Map<number, Promise<Attachment>>());
  const nextKey = useRef(1);

  const extract = useCallback(async (key: number, file: File): Promise<Attachment> => {
    if (file.size > MAX_DOCUMENT_BYTES) {
      const reason = `${file.name} has ${formatBytes(file.size)}; the limit is ${formatBytes(MAX_DOCUMENT_BYTES)}. Nothing was read. Attach a part of it.`;
      return { key, name: file.name, state: "failed", reason };
    }
    try {
      const bytes = new Uint8Array(await file.arrayBuffer());
      const document = await api.call("documents.import", { name: file.name, mediaType: file.type, bytes });
      return { key, name: file.name, state: "ready", document };
    } catch (error) {
      return { key, name: file.name, state: "failed", reason: toTarnError(error).message };
    }
  }, [api]);

  const add = useCallback((files: Iterable<File>) => {
    for (const file of files) {
      const key = nextKey.current++;
      setAll((shown) => [...shown, { key, name: file.name, state: "extracting" }]);
      const work = extract(key, file);
      running.current.set(key, work);
      void work.then((done) => setAll((shown) => shown.map((one) => (one.key === key ? done : one))));
    }
  }, [extract]);

  const remove = useCallback((key: number) => {
    running.current.delete(key);
    setAll((shown) => shown.filter((one) => one.key !== key));
  }, []);

  const clear = useCallback(() => {
    running.current.clear();
    setAll([]);
  }, []);

  const settled = useCallback(async () => {
    const done = await Promise.all(running.current.values());
    const ready = done.filter((one) => one.state === "ready").map(({ document }) => document);
    return ready.length === done.length ? ready : null;
  }, []);

  return { all, add, remove, clear, settled };
}
