import { KernelError } from "../../kernels/spec/errors.ts";
import { UnknownArchitectureError } from "../arch/errors.ts";
import { SamplerError } from "../generate/sampler-error.ts";
import { StateError } from "../state/errors.ts";
import { WeightsError } from "../weights/errors.ts";
import type { EngineErrorCode, EngineFailure } from "./protocol.ts";

/** A failure of the engine itself, with the code that crosses the port. */
export class EngineFault extends Error {
  override readonly name = "EngineFault";
  readonly code: EngineErrorCode;
  readonly data: Readonly<Record<string, string | number>>;

  constructor(
    code: EngineErrorCode,
    message: string,
    data: Readonly<Record<string, string | number>> = {},
  ) {
    super(message);
    this.code = code;
    this.data = data;
  }
}

/** Any thrown value as data for the port; stack traces stay here. */
export function toFailure(error: unknown): EngineFailure {
  if (error instanceof EngineFault)
    return { code: error.code, message: error.message, data: error.data };
  if (error instanceof KernelError) {
    const code =
      error.code === "out-of-memory" || error.code === "device-lost" ? error.code : "kernel";
    return { code, message: error.message, data: error.details };
  }
  if (error instanceof WeightsError) {
    return {
      code: "weights",
      message: error.message,
      data: { file: error.file, kind: error.code },
    };
  }
  if (error instanceof StateError)
    return { code: "state", message: error.message, data: { kind: error.code } };
  if (error instanceof UnknownArchitectureError) {
    return {
      code: "unknown-architecture",
      message: error.message,
      data: { modelType: error.modelType },
    };
  }
  if (error instanceof SamplerError) {
    return {
      code: error.code === "options" ? "bad-request" : "kernel",
      message: error.message,
      data: {},
    };
  }
  return {
    code: "internal",
    message: error instanceof Error ? error.message : String(error),
    data: {},
  };
}
