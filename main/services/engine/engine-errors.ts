import type { ErrorCode } from "../../contract/errors.ts";
import { TarnError } from "../../contract/errors.ts";
import type { EngineErrorCode } from "../../../models/engine/protocol.ts";

/** How an engine failure is named to the user. */
function codeFor(code: EngineErrorCode): ErrorCode {
  switch (code) {
    case "state":
      return "state-corrupt";
    case "no-session":
      return "internal";
    case "weights":
    case "unknown-architecture":
    case "kernel":
    case "out-of-memory":
    case "device-lost":
    case "no-backend":
    case "self-test":
    case "no-model":
    case "bad-request":
    case "internal":
      return code;
  }
}

interface Failure {
  readonly code: EngineErrorCode;
  readonly message: string;
  readonly data: Readonly<Record<string, string | number>>;
}

/** By shape, because the engine's error class belongs to the side that services do not import. */
export function isEngineError(cause: unknown): cause is Error & Failure {
  return (
    cause instanceof Error && cause.name === "EngineError" && "code" in cause && "data" in cause
  );
}

/** An engine failure as a TarnError; anything else unchanged. */
export function fromEngine(cause: unknown): unknown {
  return isEngineError(cause)
    ? new TarnError(codeFor(cause.code), cause.message, cause.data, cause)
    : cause;
}
