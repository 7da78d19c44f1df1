export type WeightsErrorCode =
  /** The bytes are not what the format asks for: cut off, overlapping, hostile. */
  | "malformed"
  /** A well-formed file that uses something Tarn does not read: a tensor type, a version. */
  | "unsupported"
  /** A file or a tensor that should be there is not. */
  | "missing"
  /** A tensor is there with another shape or type than the model asks for. */
  | "mismatch"
  /** The file could not be read, or changed while it was read. */
  | "io";

/** The fields of a WeightsError; all but `file` and `reason` where they apply. */
export interface WeightsErrorFields {
  readonly file: string;
  /** What is wrong, one clause: "the header is 120 bytes long, but the file has only 64". */
  readonly reason: string;
  readonly tensor?: string;
  readonly expected?: string | number;
  readonly actual?: string | number;
}

/** What is wrong with a file of weights or a configuration. The message names file, tensor, expected and actual. */
export class WeightsError extends Error {
  override readonly name = "WeightsError";
  readonly code: WeightsErrorCode;
  readonly file: string;
  readonly reason: string;
  readonly tensor: string | null;
  readonly expected: string | number | null;
  readonly actual: string | number | null;

  constructor(code: WeightsErrorCode, fields: WeightsErrorFields) {
    super(describe(fields));
    this.code = code;
    this.file = fields.file;
    this.reason = fields.reason;
    this.tensor = fields.tensor ?? null;
    this.expected = fields.expected ?? null;
    this.actual = fields.actual ?? null;
  }
}

function describe(fields: WeightsErrorFields): string {
  const where =
    fields.tensor === undefined ? fields.file : `${fields.file}, tensor "${fields.tensor}"`;
  const expected = fields.expected === undefined ? "" : `; expected ${fields.expected}`;
  const actual = fields.actual === undefined ? "" : `, got ${fields.actual}`;
  return `${where}: ${fields.reason}${expected}${actual}.`;
}
