import { ACTIVATIONS } from "../../spec/activations.ts";
import type { ReferenceMemory } from "../../spec/reference.ts";
import type { GateOperands } from "./gate.ts";

/** y[t, i] = act(a[t, ⌊i / repeat⌋]) · b[t, i]. */
export function gateRef(memory: ReferenceMemory, operands: GateOperands): void {
  const act = ACTIVATIONS[operands.act];
  const { repeat } = operands;
  const a = memory.rows(operands.a); // (rows, cols / repeat)
  const b = memory.rows(operands.b); // (rows, cols)
  const y = memory.rows(operands.y); // (rows, cols)
  for (let t = 0; t < b.length; t++) {
    for (let i = 0; i < operands.b.cols; i++) y[t][i] = act(a[t][Math.floor(i / repeat)]) * b[t][i];
  }
}
