import { WeightsError } from "../weights/errors.ts";
import type { GgufMetadata } from "../weights/gguf-metadata.ts";

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
  count(field: string): number {
    const value = this.#number(field);
    if (!Number.isInteger(value) || value < 1 || value > 2 ** 24)
      throw this.#wrong(field, "a whole number in 1 … 2^24", value);
    return value;
  }

  /**
   * A number above 0, finite.
   * @throws WeightsError `missing`, `malformed`
   */
  positive(field: string): number {
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
    if (value === undefined) {
      throw new WeightsError("missing", {
        file: "GGUF metadata",
        reason: `the field "${this.#architecture}.${field}" is missing`,
      });
    }
    if (typeof value !== "number") throw this.#wrong(field, "a number", String(value));
    return value;
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
