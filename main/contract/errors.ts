import { z } from "zod";

/** Every error that may reach the user. The renderer maps each to a sentence and an action with an exhaustive switch. */
export const errorCodes = [
  "bad-request",
  "not-found",
  "cancelled",
  "busy",
  "internal",
  "no-model",
  "no-tokenizer",
  "no-backend",
  "self-test",
  "weights",
  "unknown-architecture",
  "kernel",
  "out-of-memory",
  "device-lost",
  "state-foreign",
  "state-corrupt",
  "document-encrypted",
  "document-no-text",
  "document-empty",
  "document-too-large",
  "document-unsupported",
  "document-broken",
  "disk-full",
  "download",
  "store",
  "unauthorized",
] as const;
export type ErrorCode = (typeof errorCodes)[number];

/** An error as it crosses a process: stack traces stay in the log. `message` is a full sentence: what is wrong, what was kept, what to do. */
export const errorDtoSchema = z.object({
  code: z.enum(errorCodes),
  message: z.string(),
  data: z.record(z.string(), z.union([z.string(), z.number()])),
});
export type ErrorDto = z.infer<typeof errorDtoSchema>;

export class TarnError extends Error {
  override readonly name = "TarnError";
  readonly code: ErrorCode;
  readonly data: Readonly<Record<string, string | number>>;

  constructor(
    code: ErrorCode,
    message: string,
    data: Readonly<Record<string, string | number>> = {},
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.data = data;
  }

  toDto(): ErrorDto {
    return { code: this.code, message: this.message, data: { ...this.data } };
  }
}
