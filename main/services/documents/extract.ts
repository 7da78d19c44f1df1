/** Text out of a file's bytes. Runs in extract.worker.ts, because files are hostile and parsers are slow. */
import { convert } from "html-to-text";
import { MAX_DOCUMENT_BYTES } from "../../contract/dto.ts";
import { TarnError } from "../../contract/errors.ts";
import { decodeText, looksBinary } from "./decode-text.ts";
import { extractPdf } from "./extract-pdf.ts";
import type { Extracted } from "./extracted.ts";

export type Format = "pdf" | "html" | "text";

/** By the first bytes where they say it, else by name and type; null when it is nothing that can be read. */
export function formatOf(name: string, mediaType: string, bytes: Uint8Array): Format | null {
  if (Buffer.from(bytes.subarray(0, 1024)).includes("%PDF-")) return "pdf";
  if (looksBinary(bytes)) return null;
  if (/\.pdf$/i.test(name) || mediaType === "application/pdf") return "pdf";
  if (
    /\.x?html?$/i.test(name) ||
    mediaType === "text/html" ||
    mediaType === "application/xhtml+xml"
  )
    return "html";
  return "text";
}

/** @throws TarnError `document-…`, with what was kept and what to do */
export async function extract(
  name: string,
  mediaType: string,
  bytes: Uint8Array,
): Promise<Extracted> {
  if (bytes.byteLength === 0)
    throw new TarnError("document-empty", `"${name}" is empty. Nothing was added.`, { name });
  const format = formatOf(name, mediaType, bytes);
  switch (format) {
    case "pdf":
      return extractPdf(bytes, name);
    case "html":
      return notEmpty(extractHtml(bytes), name);
    case "text":
      return notEmpty({ ...decodeText(bytes), pages: null }, name);
    case null:
      throw new TarnError(
        "document-unsupported",
        `"${name}" is of a kind that Tarn cannot read yet. Nothing was added; it reads text, Markdown, HTML and PDF.`,
        { name, mediaType },
      );
  }
}

function extractHtml(bytes: Uint8Array): Extracted {
  const head = Buffer.from(bytes.subarray(0, 2048)).toString("latin1");
  const { text: html, notice } = decodeText(
    bytes,
    /<meta[^>]+charset\s*=\s*["']?([\w-]+)/i.exec(head)?.[1] ?? null,
  );
  const heading = { options: { uppercase: false } };
  const text = convert(html, {
    wordwrap: false,
    // The library would cut longer input short without a word.
    limits: { maxInputLength: MAX_DOCUMENT_BYTES },
    selectors: [
      ...["h1", "h2", "h3", "h4", "h5", "h6"].map((selector) => ({ selector, ...heading })),
      { selector: "a", options: { ignoreHref: true } },
      ...["img", "svg", "nav", "form", "script", "style", "template"].map((selector) => ({
        selector,
        format: "skip",
      })),
    ],
  });
  return { text, pages: null, notice };
}

function notEmpty(extracted: Extracted, name: string): Extracted {
  if (extracted.text.trim() !== "") return extracted;
  throw new TarnError("document-no-text", `There is no text in "${name}". Nothing was added.`, {
    name,
  });
}
