/** How the command line and the benchmark choose tokens. */
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

/** What a chat might use, with whatever costs time. */
export const drawingSampler: SamplerOptions = {
  ...greedySampler,
  temperature: 0.8,
  topP: 0.95,
  repetitionPenalty: 1.1,
  repetitionWindow: 64,
  seed: 1,
};
