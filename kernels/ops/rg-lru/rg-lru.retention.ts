import { sigmoid } from "../../spec/activations.ts";
import { requiredVector, type RetentionRule } from "../../spec/retention.ts";

/**
 * Griffin's recurrent unit: a token writes √(1 − a²) σ(i) x into each channel, and every later one multiplies it by its a.
 * Source: arXiv:2402.19427 eq. 1–4. A row: log a of the channels, then their writes' magnitudes. The write of
 * position 0 has no factor √(1 − a²).
 */
export const rgLruRetention: RetentionRule = {
  traced: ["x", "recurrenceGate", "inputGate"],
  weights: ["logDecay"],
  create(operands, vector) {
    const logDecay = requiredVector(operands, "logDecay", vector); // (width)
    const channels = logDecay.length;
    const width = 2 * channels;
    const behind = new Float64Array(channels); // Σ log a of all later tokens
    return {
      width,
      reduce({ x, recurrenceGate, inputGate }, length, position) {
        const rows = new Float32Array(length * width);
        for (let t = 0; t < length; t++) {
          for (let c = 0; c < channels; c++) {
            const at = t * channels + c;
            const logA = logDecay[c] * sigmoid(recurrenceGate[at]);
            rows[t * width + c] = logA;
            const room = position + t === 0 ? 1 : Math.sqrt(-Math.expm1(2 * logA));
            rows[t * width + channels + c] = Math.abs(room * sigmoid(inputGate[at]) * x[at]);
          }
        }
        return rows;
      },
      back(rows, length) {
        const written = new Float64Array(length);
        const held = new Float64Array(length);
        for (let t = length - 1; t >= 0; t--) {
          for (let c = 0; c < channels; c++) {
            const write = rows[t * width + channels + c];
            written[t] += write;
            held[t] += write * Math.exp(behind[c]);
            behind[c] += rows[t * width + c];
          }
        }
        return { written, held };
      },
    };
  },
};
