/**
 * - `foreign`: a sound state, but of another model, tokenizer or layout, or no state at all.
 * - `corrupt`: bytes were changed, cut off or added.
 * - `version`: written by another version of the format or of the arithmetic.
 */
export type StateErrorCode = "foreign" | "corrupt" | "version";

/** Why a saved state is not continued. Nothing is lost by it: states are rebuilt from the tokens. */
export class StateError extends Error {
  override readonly name = "StateError";
  readonly code: StateErrorCode;
  /** What did not match, one clause. */
  readonly reason: string;
  readonly expected: string | number | null;
  readonly actual: string | number | null;

  constructor(
    code: StateErrorCode,
    reason: string,
    values: { readonly expected?: string | number; readonly actual?: string | number } = {},
  ) {
    const expected = values.expected === undefined ? "" : `; expected ${values.expected}`;
    const actual = values.actual === undefined ? "" : `, got ${values.actual}`;
    super(
      `This saved state cannot be continued: ${reason}${expected}${actual}. It can be rebuilt by reading the tokens again.`,
    );
    this.code = code;
    this.reason = reason;
    this.expected = values.expected ?? null;
    this.actual = values.actual ?? null;
  }
}
