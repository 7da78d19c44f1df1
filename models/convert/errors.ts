/** A model that cannot be written in the other format. */
export class ConversionError extends Error {
  override readonly name = "ConversionError";
  readonly details: Readonly<Record<string, string | number>>;

  constructor(message: string, details: Readonly<Record<string, string | number>> = {}) {
    super(message);
    this.details = details;
  }
}
