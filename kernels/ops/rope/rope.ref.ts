import type { ReferenceMemory } from "../../spec/reference.ts";
import type { RopeOperands } from "./rope.ts";

/** (y_i, y_j) = (x_i cos a − x_j sin a, x_j cos a + x_i sin a), a = position · frequency. Source: arXiv:2104.09864 eq. 34. */
export function ropeRef(memory: ReferenceMemory, operands: RopeOperands): void {
  const { headDim, offset, pairs, scale, length } = operands;
  const x = memory.rows(operands.x); // (B * T, nHead * headDim)
  const y = memory.rows(operands.y); // (B * T, nHead * headDim)
  const frequencies = memory.weightRow(operands.frequencies, 0); // (rotaryDim / 2)
  const half = frequencies.length;
  for (let row = 0; row < x.length; row++) {
    const position = memory.positions[Math.floor(row / length)] + (row % length);
    y[row].set(x[row]);
    for (let head = offset; head < operands.x.cols; head += headDim) {
      for (let pair = 0; pair < half; pair++) {
        const i = head + (pairs === "halves" ? pair : 2 * pair);
        const j = pairs === "halves" ? i + half : i + 1;
        // The library rounds the angle to f32 before it takes the sine; so do the other backends.
        const angle = Math.fround(position * frequencies[pair]);
        const cos = Math.cos(angle) * scale;
        const sin = Math.sin(angle) * scale;
        y[row][i] = x[row][i] * cos - x[row][j] * sin;
        y[row][j] = x[row][j] * cos + x[row][i] * sin;
      }
    }
  }
}
