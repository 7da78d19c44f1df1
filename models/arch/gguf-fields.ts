import { WeightsError } from "../weights/errors.ts";
import type { GgufMetadata, GgufValue } from "../weights/gguf-metadata.ts";

/** The fields `<architecture>.…` of a GGUF file's metadata, read one by one and checked. */
export class GgufFields {
  readonly #metadata: GgufMetadata;
  readonly #architecture: string;

  constructor(metadata: GgufMetadata, architecture: string) {
    this.#metadata = metadata;
    this.#architecture = architecture;
  }

  /**
   * A whole number in 1 … 2^24.
   * @throws WeightsError `missing`, `malformed`
   */
  count(field: string, fallback?: number): number {
    if (fallback !== undefined && !this.has(field)) return fallback;
    const value = this.#number(field);
    if (!Number.isInteger(value) || value < 1 || value > 2 ** 24)
      throw this.#wrong(field, "a whole number in 1 … 2^24", value);
    return value;
  }

  /**
   * A whole number in 0 … 2^24.
   * @throws WeightsError `missing`, `malformed`
   */
  whole(field: string, fallback?: number): number {
    if (fallback !== undefined && !this.has(field)) return fallback;
    const value = this.#number(field);
    if (!Number.isInteger(value) || value < 0 || value > 2 ** 24)
      throw this.#wrong(field, "a whole number in 0 … 2^24", value);
    return value;
  }

  /** True if the field is there. */
  has(field: string): boolean {
    return this.#metadata.has(`${this.#architecture}.${field}`);
  }

  /**
   * A field that is one whole number for all layers, or a list with one for each; each in 0 … 2^24.
   * @throws WeightsError `missing`, `malformed`
   */
  perLayer(field: string, nLayer: number): readonly number[] {
    const value = this.#metadata.get(`${this.#architecture}.${field}`);
    const list = Array.isArray(value)
      ? (value as readonly GgufValue[])
      : Array.from({ length: nLayer }, (): GgufValue => this.#number(field));
    if (list.length !== nLayer) throw this.#wrong(field, `${nLayer} values`, list.length);
    return list.map((each) => {
      if (typeof each !== "number" || !Number.isInteger(each) || each < 0 || each > 2 ** 24)
        throw this.#wrong(field, "whole numbers in 0 … 2^24", String(each));
      return each;
    });
  }

  /**
   * A text.
   * @throws WeightsError `missing`, `malformed`
   */
  string(field: string, fallback?: string): string {
    const value = this.#metadata.get(`${this.#architecture}.${field}`) ?? fallback;
    if (value === undefined) throw this.#missing(field);
    if (typeof value !== "string") throw this.#wrong(field, "a text", String(value));
    return value;
  }

  /**
   * A number above 0, finite.
   * @throws WeightsError `missing`, `malformed`
   */
  positive(field: string, fallback?: number): number {
    if (fallback !== undefined && !this.has(field)) return fallback;
    const value = this.#number(field);
    if (!(value > 0 && value < Infinity)) throw this.#wrong(field, "a number above 0", value);
    return value;
  }

  /** False where it is missing. */
  flag(field: string): boolean {
    return this.#metadata.get(`${this.#architecture}.${field}`) === true;
  }

  #number(field: string): number {
    const value = this.#metadata.get(`${this.#architecture}.${field}`);
    if (value === undefined) throw this.#missing(field);
    if (typeof value !== "number") throw this.#wrong(field, "a number", String(value));
    return value;
  }

  /** That a field asks for what is not supported; the caller throws it. */
  unsupported(field: string, expected: string): WeightsError {
    return new WeightsError("unsupported", {
      file: "GGUF metadata",
      reason: `the field "${this.#architecture}.${field}" asks for what is not supported`,
      expected,
      actual: String(this.#metadata.get(`${this.#architecture}.${field}`)).slice(0, 80),
    });
  }

  #missing(field: string): WeightsError {
    return new WeightsError("missing", {
      file: "GGUF metadata",
      reason: `the field "${this.#architecture}.${field}" is missing`,
    });
  }

  #wrong(field: string, expected: string, value: number | string): WeightsError {
    return new WeightsError("malformed", {
      file: "GGUF metadata",
      reason: `the field "${this.#architecture}.${field}" is wrong`,
      expected,
      actual: String(value).slice(0, 80),
    });
  }
}
