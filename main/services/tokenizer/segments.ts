import type { Tokenizer } from "./tokenizer.ts";
import type { ControlToken } from "./tokenizer-json.ts";

/** A control token's id, or ordinary text. */
export type Segment = number | string;

/** Cuts text at the control tokens written out in it, the longest first, as the tokenizer library does. */
export function cutAtControls(text: string, controls: readonly ControlToken[]): readonly Segment[] {
  const byContent = new Map(controls.map((token) => [token.content, token]));
  const segments: Segment[] = [];
  let start = 0;
  let trimStart = false;
  function pushText(end: number, trimEnd: boolean): void {
    let plain = text.slice(start, end);
    if (trimStart) plain = plain.trimStart();
    if (trimEnd) plain = plain.trimEnd();
    if (plain !== "") segments.push(plain);
  }
  for (const match of text.matchAll(anyOf([...byContent.keys()]))) {
    const token = byContent.get(match[0]);
    if (token === undefined) continue;
    pushText(match.index, token.lstrip);
    segments.push(token.id);
    start = match.index + match[0].length;
    trimStart = token.rstrip;
  }
  pushText(text.length, false);
  return segments;
}

/** Matches the longest of the strings at every place; nothing at all for an empty list. */
function anyOf(strings: readonly string[]): RegExp {
  const escaped = strings
    .toSorted((a, b) => b.length - a.length)
    .map((string) => string.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"));
  return new RegExp(escaped.length === 0 ? "(?!)" : escaped.join("|"), "g");
}

/** Token ids of segments: the text between control tokens is encoded as text alone. */
export async function encodeSegments(
  tokenizer: Tokenizer,
  segments: readonly Segment[],
  begins: boolean,
): Promise<Int32Array> {
  const ids: number[] = [];
  for (const [i, segment] of segments.entries()) {
    if (typeof segment === "number") {
      ids.push(segment);
    } else {
      // One by one: spreading a document's tokens as arguments would overflow the stack.
      for (const id of await tokenizer.encodeText(segment, { first: begins && i === 0 }))
        ids.push(id);
    }
  }
  return Int32Array.from(ids);
}

/**
 * Takes control tokens out of what people wrote, so that a template's own marks are the only ones in what it renders,
 * and puts them back, as text, afterwards. The marks of a message become a private character, a number, the character.
 */
export class Disguise {
  readonly #mark: string;
  readonly #contents: readonly string[];
  readonly #pattern: RegExp;

  /** @param texts all texts that will be disguised: the private character is one that none of them has */
  constructor(controls: readonly ControlToken[], texts: readonly string[]) {
    this.#contents = controls.map((token) => token.content);
    this.#pattern = anyOf(this.#contents);
    this.#mark = unusedCharacter(texts);
  }

  cover(text: string): string {
    return text.replace(
      this.#pattern,
      (content) => `${this.#mark}${this.#contents.indexOf(content)}${this.#mark}`,
    );
  }

  /** A text that occurs nowhere else. */
  standIn(name: string): string {
    return `${name}${this.#mark}${name}`;
  }

  uncover(text: string): string {
    return text
      .split(this.#mark)
      .map((part, i) => (i % 2 === 0 ? part : (this.#contents[Number(part)] ?? "")))
      .join("");
  }
}

function unusedCharacter(texts: readonly string[]): string {
  // The private use area: no tokenizer and no template gives these a meaning.
  for (let code = 0xe000; code <= 0xf8ff; code++) {
    const character = String.fromCharCode(code);
    if (texts.every((text) => !text.includes(character))) return character;
  }
  throw new RangeError("The text uses every private character of Unicode.");
}
