/** Bytes of a text file as a string. */
export interface DecodedText {
  readonly text: string;
  /** What had to be guessed, as a sentence for the user; null when nothing was. */
  readonly notice: string | null;
}

/**
 * A byte order mark decides; else UTF-8 where it is valid; else `declared`, else Windows-1252, which gives every byte a meaning.
 * Line ends become "\n".
 * @param declared an encoding that the file names itself, as in HTML's <meta charset>
 */
export function decodeText(bytes: Uint8Array, declared: string | null = null): DecodedText {
  const marked = encodingOfMark(bytes);
  if (marked !== null)
    return { text: normalise(new TextDecoder(marked).decode(bytes)), notice: null };
  try {
    return {
      text: normalise(new TextDecoder("utf-8", { fatal: true }).decode(bytes)),
      notice: null,
    };
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
  }
  const known = declared === null ? null : knownEncoding(declared);
  if (known !== null && known !== "utf-8")
    return { text: normalise(new TextDecoder(known).decode(bytes)), notice: null };
  return {
    text: normalise(new TextDecoder("windows-1252").decode(bytes)),
    notice:
      "This file is not UTF-8; it was read as Windows-1252. If letters look wrong, save it as UTF-8 and attach it again.",
  };
}

/** True for bytes that no text file has: a zero without a UTF-16 mark. */
export function looksBinary(bytes: Uint8Array): boolean {
  return encodingOfMark(bytes) === null && bytes.subarray(0, 65_536).includes(0);
}

function encodingOfMark(bytes: Uint8Array): "utf-8" | "utf-16le" | "utf-16be" | null {
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) return "utf-8";
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return "utf-16le";
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return "utf-16be";
  return null;
}

function knownEncoding(label: string): string | null {
  try {
    return new TextDecoder(label).encoding;
  } catch (cause) {
    if (cause instanceof RangeError) return null;
    throw cause;
  }
}

function normalise(text: string): string {
  return text.replaceAll(/\r\n?/g, "\n").replaceAll("\0", "");
}
