import { getDocumentProxy } from "unpdf";
import { TarnError } from "../../contract/errors.ts";
import type { Extracted } from "./extracted.ts";

/** A piece of text on a page, as pdf.js gives it: `transform[5]` is its baseline in points, upwards. */
interface TextItem {
  readonly str: string;
  readonly hasEOL: boolean;
  readonly height: number;
  readonly transform: readonly number[];
}

/** A gap of this many line heights begins a paragraph. */
const PARAGRAPH_GAP = 1.6;

/**
 * The text of each page, in the order of the file's own text.
 * @throws TarnError `document-encrypted`, `document-no-text`, `document-broken`
 */
export async function extractPdf(bytes: Uint8Array, name: string): Promise<Extracted> {
  const pdf = await open(bytes, name);
  try {
    const pages: { page: number; start: number }[] = [];
    let text = "";
    for (let number = 1; number <= pdf.numPages; number++) {
      const page = await pdf.getPage(number);
      const content = await page.getTextContent();
      if (text !== "") text += "\n\n";
      pages.push({ page: number, start: text.length });
      text += joinLines(content.items.filter((item) => "str" in item));
      page.cleanup();
    }
    if (text.trim() === "") {
      const which = pdf.numPages === 1 ? "Its only page holds" : `Pages 1-${pdf.numPages} hold`;
      throw new TarnError(
        "document-no-text",
        `There is no text in "${name}". ${which} images, no text. Nothing was added; run it through text recognition (OCR) first.`,
        { name, pages: pdf.numPages },
      );
    }
    return { text, pages, notice: null };
  } catch (cause) {
    throw asBroken(cause, name);
  } finally {
    await pdf.loadingTask.destroy();
  }
}

async function open(bytes: Uint8Array, name: string) {
  try {
    return await getDocumentProxy(bytes, { stopAtErrors: false, verbosity: 0 });
  } catch (cause) {
    if (cause instanceof Error && cause.name === "PasswordException") {
      throw new TarnError(
        "document-encrypted",
        `"${name}" is locked with a password. Nothing was added; save a copy without the password and attach that.`,
        { name },
        cause,
      );
    }
    throw asBroken(cause, name);
  }
}

function asBroken(cause: unknown, name: string): TarnError {
  if (cause instanceof TarnError) return cause;
  const why = cause instanceof Error ? cause.message : String(cause);
  return new TarnError(
    "document-broken",
    `"${name}" is damaged and could not be read as a PDF (${why}). Nothing was added.`,
    { name },
    cause,
  );
}

/** Lines of one paragraph flow together, words broken at a line's end are joined, a larger gap begins a new paragraph. */
export function joinLines(items: readonly TextItem[]): string {
  let text = "";
  let line = "";
  let before: { readonly y: number; readonly height: number } | null = null;
  let lineY: number | null = null;
  let lineHeight = 0;
  const endLine = (): void => {
    const words = line.replaceAll(/\s+/g, " ").trim();
    if (words !== "" && lineY !== null) {
      const gap = before === null ? 0 : Math.abs(before.y - lineY);
      const height = Math.max(lineHeight, before?.height ?? 0, 1);
      if (text === "") text = words;
      else if (gap > PARAGRAPH_GAP * height) text += `\n\n${words}`;
      else if (/\p{L}-$/u.test(text) && /^\p{Ll}/u.test(words)) text = text.slice(0, -1) + words;
      else text += ` ${words}`;
      before = { y: lineY, height: lineHeight };
    }
    line = "";
    lineY = null;
    lineHeight = 0;
  };
  for (const item of items) {
    const y = item.transform[5] ?? 0;
    if (
      lineY !== null &&
      item.str.trim() !== "" &&
      Math.abs(y - lineY) > 0.5 * Math.max(lineHeight, item.height)
    )
      endLine();
    if (item.str.trim() !== "") {
      lineY ??= y;
      lineHeight = Math.max(lineHeight, item.height);
    }
    line += item.str;
    if (item.hasEOL) endLine();
  }
  endLine();
  return text;
}
