import type { ReferenceMemory } from "../../spec/reference.ts";
import type { Weight } from "../../spec/tensor.ts";
import type { ScaledAddOperands } from "./scaled-add.ts";

/** y = aScale ⊙ a + bScale ⊙ b + bias. */
export function scaledAddRef(memory: ReferenceMemory, operands: ScaledAddOperands): void {
  const { cols } = operands.a;
  const a = memory.rows(operands.a); // (rows, cols)
  const b = operands.b === null ? null : memory.rows(operands.b); // (rows, cols)
  const y = memory.rows(operands.y); // (rows, cols)
  const perColumn = (scale: number | Weight): Float64Array =>
    typeof scale === "number"
      ? new Float64Array(cols).fill(scale)
      : Float64Array.from(memory.weightRow(scale, 0));
  const aScale = perColumn(operands.aScale);
  const bScale = perColumn(operands.bScale);
  const bias = perColumn(operands.bias ?? 0);
  for (let t = 0; t < a.length; t++) {
    for (let i = 0; i < cols; i++) {
      y[t][i] = aScale[i] * a[t][i] + (b === null ? 0 : bScale[i] * b[t][i]) + bias[i];
    }
  }
}
