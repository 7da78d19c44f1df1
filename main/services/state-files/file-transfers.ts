/** Files on their way between the window and the services, in parts: a frame of the contract is smaller than a large state. */
import { randomUUID } from "node:crypto";
import type { Handlers } from "../../contract/contract.ts";
import { FILE_PART_BYTES, MAX_STATE_FILE_BYTES } from "../../contract/dto.ts";
import { TarnError } from "../../contract/errors.ts";

type TransferHandlers = Pick<Handlers, "files.begin" | "files.add" | "files.part" | "files.drop">;

export interface FileTransfers {
  readonly handlers: TransferHandlers;
  /** A file that the window can fetch; it takes the place of the last one. @throws TarnError `document-too-large` */
  give(bytes: Uint8Array): string;
  /** A file that the window has sent. @throws TarnError `not-found`; `bad-request` where parts are missing */
  get(fileId: string): Uint8Array;
  drop(fileId: string): void;
}

/** At most one file each way is held, in parts of one size but for the last, so that memory has a bound. */
export function createFileTransfers(): FileTransfers {
  let outgoing: { readonly id: string; readonly bytes: Uint8Array } | null = null;
  let incoming: { readonly id: string; readonly total: number; parts: Uint8Array[] } | null = null;

  const held = (file: typeof incoming): number =>
    file?.parts.reduce((sum, { byteLength }) => sum + byteLength, 0) ?? 0;
  function gone(fileId: string): TarnError {
    return new TarnError("not-found", "This file is not at hand any more. Choose it again.", {
      fileId,
    });
  }
  function drop(fileId: string): void {
    if (outgoing?.id === fileId) outgoing = null;
    if (incoming?.id === fileId) incoming = null;
  }

  const handlers: TransferHandlers = {
    async "files.begin"({ bytes }) {
      incoming = { id: randomUUID(), total: bytes, parts: [] };
      return { fileId: incoming.id };
    },
    async "files.add"({ fileId, at, bytes }) {
      if (incoming?.id !== fileId) throw gone(fileId);
      const length = held(incoming);
      const expected = Math.min(FILE_PART_BYTES, incoming.total - length);
      if (at !== length || bytes.byteLength !== expected || expected === 0) {
        const { byteLength } = bytes;
        throw new TarnError(
          "bad-request",
          `A part of a file has ${byteLength} bytes from ${at} on; expected ${expected} from ${length} on.`,
          { at, length: byteLength, expected, from: length },
        );
      }
      incoming.parts.push(bytes);
      return null;
    },
    async "files.part"({ fileId, at }) {
      if (outgoing?.id !== fileId) throw gone(fileId);
      return { bytes: outgoing.bytes.slice(at, at + FILE_PART_BYTES) };
    },
    async "files.drop"({ fileId }) {
      drop(fileId);
      return null;
    },
  };

  return {
    handlers,
    give(bytes) {
      if (bytes.byteLength > MAX_STATE_FILE_BYTES) {
        const message = `This memory has ${Math.round(bytes.byteLength / 2 ** 20)} MB; a file may have ${MAX_STATE_FILE_BYTES / 2 ** 20} MB. Nothing was written.`;
        throw new TarnError("document-too-large", message, { bytes: bytes.byteLength });
      }
      outgoing = { id: randomUUID(), bytes };
      return outgoing.id;
    },
    get(fileId) {
      if (incoming?.id !== fileId) throw gone(fileId);
      const length = held(incoming);
      if (length !== incoming.total) {
        throw new TarnError("bad-request", `A file has ${length} of ${incoming.total} bytes.`, {
          length,
          expected: incoming.total,
        });
      }
      if (incoming.parts.length > 1) incoming.parts = [Buffer.concat(incoming.parts)];
      return incoming.parts[0] ?? new Uint8Array();
    },
    drop,
  };
}
