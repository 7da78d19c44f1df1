/**
 * Reads JSON as Python writes it: strict JSON, and the bare tokens `Infinity`, `-Infinity` and `NaN` that
 * `json.dump` puts into model configurations. Unlike JSON.parse it refuses a key that is there twice (which of the
 * two counts would be a guess) and deep nesting, and its objects have no prototype, so that a key named `__proto__`
 * is a key like any other.
 */
import { WeightsError } from "./errors.ts";

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/** Deeper nesting than any configuration has, and shallow enough for any stack. */
const MAX_DEPTH = 64;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORDS: readonly (readonly [string, JsonValue])[] = [
  ["true", true],
  ["false", false],
  ["null", null],
  ["NaN", NaN],
  ["Infinity", Infinity],
  ["-Infinity", -Infinity],
];

/**
 * @param file its name, for errors
 * @throws WeightsError `malformed`: not UTF-8, not JSON, a key twice, nested too deep
 */
export function parseJson(bytes: Uint8Array, file: string): JsonValue {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new WeightsError("malformed", { file, reason: "the text is not UTF-8" });
  }
  return parseJsonText(text, file);
}

/** As `parseJson`, of decoded text. */
export function parseJsonText(text: string, file: string): JsonValue {
  const cursor = new Cursor(text, file);
  const value = cursor.value(0);
  cursor.skipSpace();
  if (cursor.at < text.length) throw cursor.unexpected("the end");
  return value;
}

/** Narrows to an object; arrays are none. */
export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

class Cursor {
  at = 0;
  readonly text: string;
  readonly file: string;

  constructor(text: string, file: string) {
    this.text = text;
    this.file = file;
  }

  unexpected(expected: string): WeightsError {
    const found =
      this.at < this.text.length
        ? JSON.stringify(this.text.slice(this.at, this.at + 12))
        : "the end";
    return new WeightsError("malformed", {
      file: this.file,
      reason: `invalid JSON at character ${this.at}`,
      expected,
      actual: found,
    });
  }

  skipSpace(): void {
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.at += 1;
    }
  }

  take(character: string): boolean {
    this.skipSpace();
    if (this.text[this.at] !== character) return false;
    this.at += 1;
    return true;
  }

  value(depth: number): JsonValue {
    if (depth > MAX_DEPTH) {
      throw new WeightsError("malformed", {
        file: this.file,
        reason: `the JSON is nested deeper than ${MAX_DEPTH} levels`,
      });
    }
    this.skipSpace();
    const first = this.text[this.at];
    if (first === "{") return this.object(depth);
    if (first === "[") return this.array(depth);
    if (first === '"') return this.string();
    for (const [word, value] of WORDS) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    NUMBER.lastIndex = this.at;
    const match = NUMBER.exec(this.text);
    if (match === null) throw this.unexpected("a value");
    this.at += match[0].length;
    return Number(match[0]);
  }

  string(): string {
    const start = this.at;
    let end = start + 1;
    for (;;) {
      const code = this.text.charCodeAt(end);
      if (Number.isNaN(code)) throw this.unexpected("a closed string");
      if (code === 0x22) break;
      end += code === 0x5c ? 2 : 1;
    }
    this.at = end + 1;
    const literal = this.text.slice(start, end + 1);
    try {
      return String(JSON.parse(literal));
    } catch {
      this.at = start;
      throw this.unexpected("a string without control characters and unknown escapes");
    }
  }

  array(depth: number): JsonValue[] {
    this.at += 1;
    const values: JsonValue[] = [];
    if (this.take("]")) return values;
    for (;;) {
      values.push(this.value(depth + 1));
      if (this.take("]")) return values;
      if (!this.take(",")) throw this.unexpected('"," or "]"');
    }
  }

  object(depth: number): JsonObject {
    this.at += 1;
    const object: Record<string, JsonValue> = Object.create(null);
    if (this.take("}")) return object;
    for (;;) {
      this.skipSpace();
      if (this.text[this.at] !== '"') throw this.unexpected("a key");
      const key = this.string();
      if (key in object) {
        throw new WeightsError("malformed", {
          file: this.file,
          reason: `the key ${JSON.stringify(key)} is there twice`,
        });
      }
      if (!this.take(":")) throw this.unexpected('":"');
      object[key] = this.value(depth + 1);
      if (this.take("}")) return object;
      if (!this.take(",")) throw this.unexpected('"," or "}"');
    }
  }
}
