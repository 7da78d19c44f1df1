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
  const wide = unmarkedUtf16(bytes);
  if (wide !== null)
    return {
      text: normalise(new TextDecoder(wide).decode(bytes)),
      notice:
        "This file does not say how its letters are written; it was read as UTF-16. If letters look wrong, save it as UTF-8 and attach it again.",
    };
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

/** True for bytes that no text file has: a zero outside UTF-16. */
export function looksBinary(bytes: Uint8Array): boolean {
  return (
    encodingOfMark(bytes) === null &&
    bytes.subarray(0, 65_536).includes(0) &&
    unmarkedUtf16(bytes) === null
  );
}

/** Letters of most scripts in UTF-16 have a zero, or hardly any value at all, in every second byte, and none in the others. */
function unmarkedUtf16(bytes: Uint8Array): "utf-16le" | "utf-16be" | null {
  const probe = bytes.subarray(0, 4096);
  if (bytes.length % 2 !== 0 || probe.length < 8 || !probe.includes(0)) return null;
  const zeros = [0, 0];
  const control = [0, 0];
  for (const [index, byte] of probe.entries()) {
    const half = index % 2;
    if (byte === 0) zeros[half] = (zeros[half] ?? 0) + 1;
    else if (byte < 9) control[half] = (control[half] ?? 0) + 1;
  }
  const pairs = probe.length / 2;
  const [even = 0, odd = 0] = zeros;
  if (odd > 0.5 * pairs && even === 0 && control[0] === 0) return "utf-16le";
  if (even > 0.5 * pairs && odd === 0 && control[1] === 0) return "utf-16be";
  return null;
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
