/**
 * Values that say themselves what they are: a text with an address that has an @ answers "What is her email address?" without the word
 * "email".
 */
import { stemsOf } from "./terms.ts";

interface ValueKind {
  readonly pattern: RegExp;
  /** Stems of the words that such a value is asked for by. */
  readonly stems: readonly string[];
}

const KINDS: readonly ValueKind[] = [
  kind(
    /[\p{L}\p{N}._%+-]+@[\p{L}\p{N}-]+\.\p{L}/u,
    "email mail address adresse emailadresse mailadresse courriel électronique correo electrónico dirección",
  ),
  kind(
    /(?<![\p{L}\p{N}])\+?\(?\d[\d ()/.-]{4,}\d(?![\p{L}\p{N}])/u,
    "phone telephone call dial mobile number telefon telefonnummer rufnummer nummer téléphone numéro teléfono número",
  ),
  kind(/\b(?:work(?:s|ed|ing)?|employed) as\b/iu, "job profession occupation career living work"),
  kind(/\bhttps?:\/\/|\bwww\./u, "website site web link url homepage address internet"),
];

/** Stems that stand in a text by a value of theirs. */
export function stemsOfValues(text: string): string[] {
  return KINDS.flatMap(({ pattern, stems }) => (pattern.test(text) ? stems : []));
}

function kind(pattern: RegExp, words: string): ValueKind {
  return { pattern, stems: stemsOf(words) };
}
