import { decodeText } from "../decode-text.ts";
import type { Extracted } from "../extracted.ts";

/** Written without line breaks it is one word a megabyte long: neither people nor search find a place in it. */
const LONG_LINE = 2000;

/** JSON as it is, or indented where it was written without line breaks. What is no JSON stays as it is. */
export function extractJson(bytes: Uint8Array): Extracted {
  const { text, notice } = decodeText(bytes);
  const plain: Extracted = { text, pages: null, pageUnit: null, notice };
  if (!text.split("\n").some((line) => line.length > LONG_LINE)) return plain;
  try {
    return { ...plain, text: JSON.stringify(JSON.parse(text), null, 1) };
  } catch (cause) {
    // Not JSON, or nested deeper than the runtime writes.
    if (cause instanceof SyntaxError || cause instanceof RangeError) return plain;
    throw cause;
  }
}
