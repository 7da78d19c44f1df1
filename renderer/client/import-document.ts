import type { Api } from "../../main/contract/contract.ts";
import { type DocumentInfo, MAX_DOCUMENT_BYTES } from "../../main/contract/dto.ts";
import { TarnError } from "../../main/contract/errors.ts";

/** What the file chooser offers; the service looks at the bytes, not at the name. */
export const ACCEPTED_DOCUMENTS = [
  ".txt,.md,.markdown,.html,.htm,.xhtml,.pdf,.docx,.odt,.ods,.odp,.rtf,.epub,.pptx,.xlsx,.csv,.tsv,.json,.xml,.log",
  ".ts,.tsx,.js,.jsx,.py,.rs,.go,.c,.h,.cc,.cpp,.java,.kt,.swift,.rb,.php,.sh,.sql,.css,.yaml,.yml,.toml,.tex",
  "text/*,application/pdf,application/json,application/rtf,application/epub+zip",
].join(",");

/**
 * A file as the service takes it.
 * @throws TarnError `document-too-large` before a byte is read
 */
export async function readFileFor(file: File): Promise<{
  readonly name: string;
  readonly mediaType: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}> {
  if (file.size > MAX_DOCUMENT_BYTES) {
    const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
    const message = `${file.name} has ${megabytes(file.size)}; the limit is ${megabytes(MAX_DOCUMENT_BYTES)}. Nothing was read. Attach a part of it.`;
    throw new TarnError("document-too-large", message);
  }
  const bytes = new Uint8Array(await file.arrayBuffer());
  return { name: file.name, mediaType: file.type, bytes };
}

/**
 * Hands a file to the service, which extracts its text.
 * @throws TarnError `document-too-large` before a byte is read, or what the service says
 */
export async function importDocument(api: Api, file: File): Promise<DocumentInfo> {
  return api.call("documents.import", await readFileFor(file));
}
