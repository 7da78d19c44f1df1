import type { SamplerOptions } from "../../models/engine/protocol.ts";

/** Always the token with the largest logit. */
export const greedySampler: SamplerOptions = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  repetitionWindow: 0,
  seed: 0,
};
