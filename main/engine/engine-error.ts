import type { EngineErrorCode, EngineFailure } from "../../models/engine/protocol.ts";

/** A failure that the engine worker reported, or the loss of the worker itself (code `internal`). */
export class EngineError extends Error {
  override readonly name = "EngineError";
  readonly code: EngineErrorCode;
  readonly data: Readonly<Record<string, string | number>>;

  constructor(failure: EngineFailure) {
    super(failure.message);
    this.code = failure.code;
    this.data = failure.data;
  }
}
