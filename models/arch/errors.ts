/** A model of an architecture that Tarn does not run: an ordinary outcome, the file is fine. */
export class UnknownArchitectureError extends Error {
  override readonly name = "UnknownArchitectureError";
  /** `model_type` of config.json, or `general.architecture` of a GGUF file. */
  readonly modelType: string;
  readonly known: readonly string[];

  constructor(modelType: string, known: readonly string[]) {
    super(`Tarn does not know the architecture "${modelType}"; it runs ${known.join(", ")}.`);
    this.modelType = modelType;
    this.known = known;
  }
}
