import {
  fold,
  tensorOf,
  weightOf,
  type Dispatch,
  type DispatchContext,
  type Shader,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import { dtypeCodes, rowWords, scaleWords } from "../../wgsl/packed.ts";
import unpack from "../../wgsl/unpack.wgsl?raw";
import type { Operands } from "../../spec/op.ts";
import source from "./embedding.wgsl?raw";

const shader: Shader = { name: "embedding", parts: [grid, unpack, source] };

/** One dispatch a part of the table; see embedding.wgsl. */
export function describeEmbedding(operands: Operands, context: DispatchContext): Dispatch[] {
  const table = weightOf(operands, "table");
  const y = tensorOf(operands, "y");
  return context.parts(table).map((part, index) => ({
    shader,
    entryPoint: "embedding",
    constants: {
      DTYPE: dtypeCodes[table.dtype],
      COLS: table.cols,
      ROW_VECTORS: rowWords(table.dtype, table.cols) / 4,
      SCALE_WORDS: scaleWords(table.dtype, table.cols),
    },
    params: [y.rows, context.ids, context.target(y), y.stride, part.firstRow, part.rows],
    reads: [
      { kind: "values", weight: table, part: index },
      { kind: "scales", weight: table, part: index },
    ],
    state: null,
    workgroups: fold(y.rows * Math.ceil(table.cols / 64)),
  }));
}
