import { WeightsError } from "../weights/errors.ts";
import type { JsonObject, JsonValue } from "../weights/json.ts";

/**
 * The fields of a config.json of Hugging Face transformers, read one by one and checked. A field may have been renamed
 * between versions of that library, so readers take all its names, newest first. What is null counts as missing.
 */
export class ConfigFields {
  /** The file's name, for errors. */
  readonly file: string;
  readonly #json: JsonObject;

  constructor(json: JsonObject, file = "config.json") {
    this.#json = json;
    this.file = file;
  }

  /** True if one of the fields is there and is not null. */
  has(...names: readonly string[]): boolean {
    return this.#find(names) !== null;
  }

  /** True if the field is there and says null: another thing than a field that is not there, where its default is not null. */
  isNull(name: string): boolean {
    return Object.hasOwn(this.#json, name) && this.#json[name] === null;
  }

  /** True if the field is there and is exactly this text. */
  is(name: string, text: string): boolean {
    return this.#find([name])?.value === text;
  }

  /** @throws WeightsError `missing`, `malformed`; so do all the others */
  string(names: readonly string[], fallback?: string): string {
    const { name, value } = this.#get(names, fallback);
    if (typeof value !== "string") throw this.#wrong(name, "a string", value);
    return value;
  }

  boolean(names: readonly string[], fallback: boolean): boolean {
    const { name, value } = this.#get(names, fallback);
    if (typeof value !== "boolean") throw this.#wrong(name, "true or false", value);
    return value;
  }

  /** A whole number in 1 … 2^24; of heads, layers and the like in 1 … 2^14. */
  count(names: readonly string[], fallback?: number): number {
    const { name, value } = this.#get(names, fallback);
    const most = mostOf(name);
    if (typeof value !== "number" || !Number.isInteger(value) || value < 1 || value > most) {
      throw this.#wrong(name, `a whole number in 1 … ${most}`, value);
    }
    return value;
  }

  /** A whole number in 0 … 2^24; of heads, layers and the like in 0 … 2^14. */
  whole(names: readonly string[], fallback?: number): number {
    const { name, value } = this.#get(names, fallback);
    const most = mostOf(name);
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > most) {
      throw this.#wrong(name, `a whole number in 0 … ${most}`, value);
    }
    return value;
  }

  /** A number, finite. */
  number(names: readonly string[], fallback?: number): number {
    const { name, value } = this.#get(names, fallback);
    if (typeof value !== "number" || !Number.isFinite(value))
      throw this.#wrong(name, "a number", value);
    return value;
  }

  /** A number above 0, finite. */
  positive(names: readonly string[], fallback?: number): number {
    const { name, value } = this.#get(names, fallback);
    if (typeof value !== "number" || !(value > 0 && value < Infinity))
      throw this.#wrong(name, "a number above 0", value);
    return value;
  }

  /** Two numbers, the first not above the second; either may be infinite. */
  range(names: readonly string[], fallback: readonly [number, number]): readonly [number, number] {
    const { name, value } = this.#get(names, fallback);
    const [low, high, ...rest]: readonly unknown[] = Array.isArray(value) ? value : [];
    if (typeof low !== "number" || typeof high !== "number" || !(low <= high) || rest.length > 0) {
      throw this.#wrong(name, "a lower and an upper limit", value);
    }
    return [low, high];
  }

  /** A list of finite numbers, or null where it is missing. */
  numbers(names: readonly string[]): readonly number[] | null {
    const found = this.#find(names);
    if (found === null) return null;
    const list: readonly unknown[] = Array.isArray(found.value) ? found.value : [null];
    return list.map((value) => {
      if (typeof value !== "number" || !Number.isFinite(value))
        throw this.#wrong(found.name, "a list of numbers", found.value);
      return value;
    });
  }

  /** A list of texts, or null where it is missing. */
  strings(names: readonly string[]): readonly string[] | null {
    const found = this.#find(names);
    if (found === null) return null;
    const list: readonly unknown[] = Array.isArray(found.value) ? found.value : [null];
    return list.map((value) => {
      if (typeof value !== "string") throw this.#wrong(found.name, "a list of texts", found.value);
      return value;
    });
  }

  /** The fields of an object within, or null where it is missing. */
  object(names: readonly string[]): ConfigFields | null {
    const found = this.#find(names);
    if (found === null) return null;
    const { name, value } = found;
    if (!isObject(value)) throw this.#wrong(name, "an object", value);
    return new ConfigFields(value, this.file);
  }

  /** That a field asks for what is not supported; the caller throws it. */
  unsupported(name: string, expected: string): WeightsError {
    return new WeightsError("unsupported", {
      file: this.file,
      reason: `the field "${name}" asks for what is not supported`,
      expected,
      actual: String(JSON.stringify(this.#json[name])).slice(0, 80),
    });
  }

  #find(names: readonly string[]): { name: string; value: JsonValue } | null {
    for (const name of names) {
      const value = Object.hasOwn(this.#json, name) ? this.#json[name] : undefined;
      if (value !== undefined && value !== null) return { name, value };
    }
    return null;
  }

  #get(names: readonly string[], fallback: unknown): { name: string; value: unknown } {
    const found = this.#find(names);
    if (found !== null) return found;
    const [name = ""] = names;
    if (fallback !== undefined) return { name, value: fallback };
    throw new WeightsError("missing", {
      file: this.file,
      reason: `the field "${name}" is missing`,
    });
  }

  #wrong(name: string, expected: string, value: unknown): WeightsError {
    return new WeightsError("malformed", {
      file: this.file,
      reason: `the field "${name}" is wrong`,
      expected,
      actual: String(JSON.stringify(value)).slice(0, 80),
    });
  }
}

/** Far above any model, far below what would overflow in a product of two. */
const MOST = 2 ** 24;
/** The same for what a model has by the dozen: tables are made of them before its weights are seen. */
const MOST_OF_FEW = 2 ** 14;
const FEW =
  /head|expert|group|state_size|d_state|conv|kernel|layer|rank|block|period|offset|top_?k/;

function mostOf(field: string): number {
  return FEW.test(field) ? MOST_OF_FEW : MOST;
}

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
