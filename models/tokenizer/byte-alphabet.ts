/**
 * Bytes as characters that can be seen: byte-level vocabularies are spelled in this alphabet. Printable bytes of Latin-1
 * stand for themselves, the others, in order, for the characters from U+0100 on ("Ġ" is the space).
 * Source: Radford et al. 2019, GPT-2's `bytes_to_unicode`.
 */
const CHARACTERS: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  isPrintable(byte)
    ? String.fromCharCode(byte)
    : String.fromCharCode(256 + Array.from({ length: byte }, (_, i) => i).filter(isHidden).length),
);
const BYTES: ReadonlyMap<string, number> = new Map(
  CHARACTERS.map((character, byte) => [character, byte]),
);

function isPrintable(byte: number): boolean {
  return (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
}

function isHidden(byte: number): boolean {
  return !isPrintable(byte);
}

/** Bytes → a character each. */
export function spell(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => CHARACTERS[byte]).join("");
}

/** A character a byte → the bytes; null if a character is not of the alphabet. */
export function unspell(text: string): Uint8Array | null {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const byte = BYTES.get(text.charAt(i));
    if (byte === undefined) return null;
    bytes[i] = byte;
  }
  return bytes;
}
