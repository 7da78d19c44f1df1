/** Options that make no sense (`options`), or logits of which none can be chosen (`logits`). */
export class SamplerError extends Error {
  override readonly name = "SamplerError";
  readonly code: "options" | "logits";

  constructor(code: SamplerError["code"], message: string) {
    super(message);
    this.code = code;
  }
}
