/** How a session came to stand where it stands: what an uninterrupted run would have to do. */
import type { Precision, SamplerOptions } from "../../models/engine/protocol.ts";

export type Step =
  | { readonly kind: "read"; readonly ids: readonly number[] }
  | {
      readonly kind: "write";
      /** Of all answers of the batch: in one, numbers add up in another order than alone. */
      readonly samplers: readonly SamplerOptions[];
      /** Which of them this is. */
      readonly branch: number;
      /** Tokens of the longest of them. */
      readonly most: number;
      readonly activations: Precision;
      readonly ids: readonly number[];
      /** SHA-256 (hex) of the logits after each token; null where the engine does not give them. */
      readonly logits: string | null;
    };

/** From an empty session on. */
export type Derivation = readonly Step[];

/** What is to be run again, and what it must come to. */
export interface Replay {
  readonly derivation: Derivation;
  /** SHA-256 (hex) of the head of the snapshot at the end, which names those of its pages. */
  readonly state?: { readonly head: string; readonly tokenizerHash: string };
}

/** The ids that the session was fed. */
export function idsOf(derivation: Derivation): number[] {
  return derivation.flatMap(({ ids }) => ids);
}
