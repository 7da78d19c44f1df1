import type { Api } from "../../main/contract/contract.ts";
import { FILE_PART_BYTES, MAX_STATE_FILE_BYTES } from "../../main/contract/dto.ts";
import { TarnError } from "../../main/contract/errors.ts";

/** How a file with a chat's memory is named. */
export const STATE_FILE_ENDING = ".tarn";

/**
 * Sends a file to the services in parts.
 * @returns its id there
 * @throws TarnError before a byte is read where it is empty or too large, or what the service says
 */
export async function sendFile(api: Api, file: File): Promise<string> {
  if (file.size === 0 || file.size > MAX_STATE_FILE_BYTES) {
    const message =
      file.size === 0
        ? `${file.name} is empty. Nothing was changed; use another copy of it.`
        : `${file.name} has ${Math.round(file.size / 2 ** 20)} MB, more than a memory can have. Nothing was read.`;
    throw new TarnError("state-corrupt", message);
  }
  const { fileId } = await api.call("files.begin", { bytes: file.size });
  for (let at = 0; at < file.size; at += FILE_PART_BYTES) {
    const bytes = new Uint8Array(await file.slice(at, at + FILE_PART_BYTES).arrayBuffer());
    await api.call("files.add", { fileId, at, bytes });
  }
  return fileId;
}

/** Fetches a file from the services, and lets it go there. @throws TarnError */
export async function fetchFile(api: Api, fileId: string): Promise<Blob> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; ;) {
    const { bytes } = await api.call("files.part", { fileId, at });
    if (bytes.byteLength === 0) break;
    parts.push(new Uint8Array(bytes));
    at += bytes.byteLength;
  }
  await api.call("files.drop", { fileId });
  return new Blob(parts, { type: "application/octet-stream" });
}

/** Hands a file to the user: the browser saves it where downloads go, the desktop program asks where. */
export function saveFile(document: Document, file: Blob, name: string): void {
  const address = URL.createObjectURL(file);
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  // The download has begun by then; nothing tells when it has ended.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
