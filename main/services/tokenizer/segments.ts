import type { Tokenizer } from "./tokenizer.ts";
import type { ControlToken } from "./tokenizer-json.ts";

/** A control token's id, or ordinary text. */
export type Segment = number | string;

/** Cuts text at the control tokens written out in it, the longest first, as the tokenizer library does. */
export function cutAtControls(text: string, controls: readonly ControlToken[]): readonly Segment[] {
  const segments: Segment[] = [];
  const byLength = controls.toSorted((a, b) => b.content.length - a.content.length);
  const firstCharacters = new Set(controls.map((token) => token.content[0]));
  let start = 0;
  let trimNext = false;
  function pushText(end: number, trimEnd: boolean): void {
    let plain = text.slice(start, end);
    if (trimNext) plain = plain.trimStart();
    if (trimEnd) plain = plain.trimEnd();
    if (plain !== "") segments.push(plain);
  }
  for (let at = 0; at < text.length;) {
    const token = firstCharacters.has(text[at])
      ? byLength.find(({ content }) => text.startsWith(content, at))
      : undefined;
    if (token === undefined) {
      at += 1;
      continue;
    }
    pushText(at, token.lstrip);
    segments.push(token.id);
    at += token.content.length;
    start = at;
    trimNext = token.rstrip;
  }
  pushText(text.length, false);
  return segments;
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

  /** @param texts all texts that will be disguised: the private character is one that none of them has */
  constructor(controls: readonly ControlToken[], texts: readonly string[]) {
    this.#contents = controls.map((token) => token.content).toSorted((a, b) => b.length - a.length);
    this.#mark = unusedCharacter(texts);
  }

  cover(text: string): string {
    let covered = "";
    let start = 0;
    for (let at = 0; at < text.length;) {
      const index = this.#contents.findIndex((content) => text.startsWith(content, at));
      const content = this.#contents[index];
      if (content === undefined) {
        at += 1;
        continue;
      }
      covered += `${text.slice(start, at)}${this.#mark}${index}${this.#mark}`;
      at += content.length;
      start = at;
    }
    return covered + text.slice(start);
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
