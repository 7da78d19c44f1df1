import { useCallback, useRef, useState } from "react";
import type { DocumentInfo } from "../../../main/contract/dto.ts";
import { toTarnError } from "../../client/check.ts";
import { useApi } from "../../client/context.tsx";
import { importDocument } from "../../client/import-document.ts";

export type Attachment =
  | { readonly key: number; readonly name: string; readonly state: "extracting" }
  | {
      readonly key: number;
      readonly name: string;
      readonly state: "ready";
      readonly document: DocumentInfo;
      /** Read up to this page and no further; null for all of it. */
      readonly asOf: number | null;
    }
  | {
      readonly key: number;
      readonly name: string;
      readonly state: "failed";
      readonly reason: string;
    };

/** A document of the library, as of one of its pages where one is named. */
export interface AttachedDocument {
  readonly document: DocumentInfo;
  readonly asOf: number | null;
}

export interface Attachments {
  readonly all: readonly Attachment[];
  add(files: Iterable<File>): void;
  /** One that was imported before. */
  addKnown(attached: AttachedDocument): void;
  remove(key: number): void;
  clear(): void;
  /** Waits until nothing is being extracted; the documents that are ready then, or null if one failed. */
  settled(): Promise<readonly AttachedDocument[] | null>;
}

/** The files beside the message that is being written. A file is extracted as soon as it is chosen. */
export function useAttachments(): Attachments {
  const api = useApi();
  const [all, setAll] = useState<readonly Attachment[]>([]);
  const running = useRef(new Map<number, Promise<Attachment>>());
  const nextKey = useRef(1);

  const extract = useCallback(
    async (key: number, file: File): Promise<Attachment> => {
      try {
        const document = await importDocument(api, file);
        return { key, name: file.name, state: "ready", document, asOf: null };
      } catch (error) {
        return { key, name: file.name, state: "failed", reason: toTarnError(error).message };
      }
    },
    [api],
  );

  const add = useCallback(
    (files: Iterable<File>) => {
      for (const file of files) {
        const key = nextKey.current++;
        setAll((shown) => [...shown, { key, name: file.name, state: "extracting" }]);
        const work = extract(key, file);
        running.current.set(key, work);
        void work.then((done) =>
          setAll((shown) => shown.map((one) => (one.key === key ? done : one))),
        );
      }
    },
    [extract],
  );

  const addKnown = useCallback(({ document, asOf }: AttachedDocument) => {
    const { name } = document;
    const one = { key: nextKey.current++, name, state: "ready", document, asOf } as const;
    running.current.set(one.key, Promise.resolve(one));
    setAll((shown) => [
      ...shown.filter((other) => other.state !== "ready" || other.document.id !== document.id),
      one,
    ]);
  }, []);

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
    const ready = done.filter((one) => one.state === "ready");
    const once = new Map(
      ready.map(({ document, asOf }) => [document.id, { document, asOf } as const]),
    );
    return ready.length === done.length ? [...once.values()] : null;
  }, []);

  return { all, add, addKnown, remove, clear, settled };
}
