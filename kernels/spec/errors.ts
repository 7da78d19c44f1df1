export type KernelErrorCode =
  | "shape"
  | "dtype"
  | "backend"
  | "out-of-memory"
  | "device-lost"
  | "unsupported";

/** What went wrong in a kernel, a plan or a backend; the details are data, the message is for people. */
export class KernelError extends Error {
  override readonly name = "KernelError";
  readonly code: KernelErrorCode;
  readonly details: Readonly<Record<string, string | number>>;

  constructor(
    code: KernelErrorCode,
    message: string,
    details: Readonly<Record<string, string | number>> = {},
  ) {
    super(message);
    this.code = code;
    this.details = details;
  }
}
