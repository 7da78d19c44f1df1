import { ACTIVATIONS } from "../../spec/activations.ts";
import type { ReferenceMemory } from "../../spec/reference.ts";
import type { ActivationOperands } from "./activation.ts";

/** y = gain · act(scale · x + bias). */
export function activationRef(memory: ReferenceMemory, operands: ActivationOperands): void {
  const { scale, gain } = operands;
  const act = ACTIVATIONS[operands.act];
  const x = memory.rows(operands.x); // (rows, cols)
  const y = memory.rows(operands.y); // (rows, cols)
  const bias = operands.bias === null ? null : memory.weightRow(operands.bias, 0); // (cols)
  for (let t = 0; t < x.length; t++) {
    for (let i = 0; i < operands.x.cols; i++) {
      y[t][i] = gain * act(scale * x[t][i] + (bias?.[i] ?? 0));
    }
  }
}
