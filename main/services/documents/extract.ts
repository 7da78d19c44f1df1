/** Text out of a file's bytes. Runs in extract.worker.ts, because files are hostile and parsers are slow. */
import { TarnError } from "../../contract/errors.ts";
import { decodeText, looksBinary } from "./decode-text.ts";
import { extractPdf } from "./extract-pdf.ts";
import type { Extracted } from "./extracted.ts";
import { extractCsv } from "./formats/csv.ts";
import { extractDocx } from "./formats/docx.ts";
import { extractEpub } from "./formats/epub.ts";
import { extractHtml } from "./formats/html.ts";
import { extractJson } from "./formats/json.ts";
import { mainPart } from "./formats/office-package.ts";
import { extractOpenDocument } from "./formats/opendocument.ts";
import { extractPptx } from "./formats/pptx.ts";
import { extractRtf } from "./formats/rtf.ts";
import { extractXlsx } from "./formats/xlsx.ts";
import { looksZipped, openZip, type Zip } from "./formats/zip.ts";

/** @throws TarnError `document-…`, with what was kept and what to do */
export async function extract(
  name: string,
  mediaType: string,
  bytes: Uint8Array,
): Promise<Extracted> {
  if (bytes.byteLength === 0)
    throw new TarnError("document-empty", `"${name}" is empty. Nothing was added.`, { name });
  // What the first bytes say counts more than the name.
  if (Buffer.from(bytes.subarray(0, 1024)).includes("%PDF-")) return extractPdf(bytes, name);
  if (looksZipped(bytes)) return notEmpty(extractZipped(openZip(bytes, name), name), name);
  if (isCompoundFile(bytes)) throw compoundFile(bytes, name);
  if (looksBinary(bytes)) throw unsupported(name, "");
  return notEmpty(extractText(name, mediaType, bytes), name);
}

function extractText(name: string, mediaType: string, bytes: Uint8Array): Extracted {
  const is = (pattern: RegExp, ...types: readonly string[]): boolean =>
    pattern.test(name) || types.includes(mediaType);
  if (is(/\.pdf$/i, "application/pdf"))
    throw new TarnError(
      "document-broken",
      `"${name}" is damaged and could not be read as a PDF (it does not begin as one). Nothing was added.`,
      { name },
    );
  if (Buffer.from(bytes.subarray(0, 5)).toString("latin1") === "{\\rtf")
    return extractRtf(bytes, name);
  if (is(/\.x?html?$/i, "text/html", "application/xhtml+xml")) return extractHtml(bytes, name);
  if (is(/\.[ct]sv$/i, "text/csv", "text/tab-separated-values")) return extractCsv(bytes, name);
  if (is(/\.json$/i, "application/json")) return extractJson(bytes);
  return { ...decodeText(bytes), pages: null, pageUnit: null };
}

/** By what lies in the archive, whatever the file is called. */
function extractZipped(zip: Zip, name: string): Extracted {
  const type = zip.names.includes("mimetype") ? zip.read("mimetype") : null;
  const mimetype = type === null ? "" : Buffer.from(type.subarray(0, 100)).toString("latin1");
  if (mimetype.startsWith("application/epub+zip")) return extractEpub(zip, name);
  if (mimetype.startsWith("application/vnd.oasis.opendocument."))
    return extractOpenDocument(zip, name);
  if (zip.names.includes("[Content_Types].xml")) {
    const main = mainPart(zip, name) ?? "";
    if (main.startsWith("word/")) return extractDocx(zip, name);
    if (main.startsWith("ppt/")) return extractPptx(zip, name);
    if (main.startsWith("xl/") && !main.endsWith(".bin")) return extractXlsx(zip, name);
  }
  if (zip.names.includes("META-INF/container.xml")) return extractEpub(zip, name);
  throw unsupported(name, " It is an archive; unpack it and attach the files in it.");
}

/** The container of Microsoft's formats before 2007, and of its encrypted files since. */
function isCompoundFile(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.subarray(0, 8)).toString("hex") === "d0cf11e0a1b11ae1";
}

function compoundFile(bytes: Uint8Array, name: string): TarnError {
  if (Buffer.from(bytes).includes(Buffer.from("EncryptedPackage", "utf16le")))
    return new TarnError(
      "document-encrypted",
      `"${name}" is locked with a password. Nothing was added; save a copy without the password and attach that.`,
      { name },
    );
  return unsupported(
    name,
    " It is in an old format of Microsoft Office; save it as .docx, .xlsx or .pptx and attach that.",
  );
}

function unsupported(name: string, advice: string): TarnError {
  return new TarnError(
    "document-unsupported",
    `"${name}" is of a kind that Tarn cannot read. Nothing was added.${advice} It reads text, Markdown, HTML, PDF, Word, OpenDocument, RTF, EPUB, PowerPoint, Excel, CSV, JSON and source code.`,
    { name },
  );
}

function notEmpty(extracted: Extracted, name: string): Extracted {
  if (extracted.text.trim() !== "") return extracted;
  throw new TarnError("document-no-text", `There is no text in "${name}". Nothing was added.`, {
    name,
  });
}
