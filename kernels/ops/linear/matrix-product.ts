import type { SubgroupMatrixShape } from "../../wgsl/dispatch.ts";

/** How a workgroup of linear-matrix.wgsl divides its tile. */
export interface TileShape {
  /** Subgroups, one below the other. */
  readonly gridRows: number;
  /** Subgroups side by side. */
  readonly gridCols: number;
  /** Matrices of sums that a subgroup has, one below the other. */
  readonly down: number;
  /** Matrices side by side. */
  readonly across: number;
}

/** Columns that a workgroup takes at a time. */
export const TILE_K = 32;
/** Values that a thread brings into workgroup memory at a time. */
const EIGHT = 8;

/**
 * The entry point of linear-matrix.wgsl, written out statement by statement: a subgroup's matrices in an array, or a piece
 * of a tile brought in by a function, is twice as slow on an H100. Compilers keep such arrays in memory, and drop the
 * bounds check of an index only where they see in the same function that it is small enough.
 * @param parts f16 values that stand for one of x
 */
export function matrixProduct(
  tile: TileShape,
  { m, n, k }: SubgroupMatrixShape,
  subgroupSize: number,
  parts: number,
): string {
  const { gridRows, gridCols, down, across } = tile;
  const threads = gridRows * gridCols * subgroupSize;
  const tileRows = gridRows * down * m;
  const tileCols = gridCols * across * n;
  const pieceRow = TILE_K / EIGHT;
  const piecesX = range(Math.ceil((tileRows * pieceRow) / threads));
  const piecesW = range(Math.ceil((tileCols * pieceRow) / threads));
  const rowsBetween = threads / pieceRow;
  const matrices = range(down).flatMap((i) => range(across).map((j) => ({ i, j })));
  const partsX = range(parts).flatMap((part) => piecesX.map((piece) => ({ part, piece })));
  // A tile smaller than one piece for each thread.
  const guardX = tileRows * pieceRow < threads ? `if (piece_row < ${tileRows}u) ` : "";
  const guardW = tileCols * pieceRow < threads ? `if (piece_row < ${tileCols}u) ` : "";

  const load = [
    ...partsX.map(
      ({ part, piece }) =>
        `let x${part}_${piece} = arena_four(half_at(${part}u, first_x + piece_row + ${piece * rowsBetween}u, k + piece_k));`,
    ),
    ...piecesW.map(
      (piece) =>
        `let packed${piece} = packed_at(first_w + piece_row + ${piece * rowsBetween}u, k + piece_k);`,
    ),
  ];
  const keep = [
    ...partsX.map(({ part, piece }) => {
      const at = `piece_at + ${(part * tileRows + piece * rowsBetween) * (TILE_K + 8)}u`;
      const [low, high] = ["xy", "zw"].map(
        (half) => `bitcast<vec4<f16>>(x${part}_${piece}.${half})`,
      );
      return `${guardX}{ ${keepEight("x_memory", at, low, high)} }`;
    }),
    ...piecesW.map((piece) => {
      const at = `piece_at + ${piece * rowsBetween * (TILE_K + 8)}u`;
      const eight = `let eight = eight_weights(packed${piece}, first_w + piece_row + ${piece * rowsBetween}u, k + piece_k);`;
      return `${guardW}{ ${eight} ${keepEight("w_memory", at, "eight.low", "eight.high")} }`;
    }),
  ];
  const multiply = range(TILE_K / k).flatMap((inner) => [
    ...range(across).map(
      (j) =>
        `let right${inner}_${j} = subgroupMatrixLoad<Right, col_major>(&w_memory, w_at + ${j * n * (TILE_K + 8) + inner * k}u, ROW);`,
    ),
    ...range(parts).flatMap((part) =>
      range(down).flatMap((i) => {
        const left = `left${inner}_${part}_${i}`;
        const at = (part * tileRows + i * m) * (TILE_K + 8) + inner * k;
        return [
          `let ${left} = subgroupMatrixLoad<Left, row_major>(&x_memory, x_at + ${at}u, ROW);`,
          ...range(across).map(
            (j) =>
              `sums${i}_${j} = subgroupMatrixMultiplyAccumulate(${left}, right${inner}_${j}, sums${i}_${j});`,
          ),
        ];
      }),
    ),
  ]);
  const write = matrices.flatMap(({ i, j }) => [
    `subgroupMatrixStore<row_major>(&sum_memory, own, sums${i}_${j}, SUM_ROW);`,
    "workgroupBarrier();",
    `write_sums(own, lane, first_x + row_of_grid + ${i * m}u, first_w + col_of_grid + ${j * n}u);`,
    "workgroupBarrier();",
  ]);
  return `
@compute @workgroup_size(${threads})
fn linear_matrix(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let index = workgroup_index(workgroup, grid);
  let tiles_x = (params.rows + TILE_ROWS - 1u) / TILE_ROWS;
  let first_x = (index % tiles_x) * TILE_ROWS;
  let first_w = (index / tiles_x) * TILE_COLS;
  let row_of_grid = subgroup / GRID_COLS * ${down * m}u;
  let col_of_grid = subgroup % GRID_COLS * ${across * n}u;
  let x_at = row_of_grid * ROW;
  let w_at = col_of_grid * ROW;
  let piece_row = thread / ${pieceRow}u;
  let piece_k = thread % ${pieceRow}u * ${EIGHT}u;
  let piece_at = piece_row * ROW + piece_k;
  ${matrices.map(({ i, j }) => `var sums${i}_${j}: Sums;`).join("\n  ")}
  for (var k = 0u; k < params.k; k += TILE_K) {
    ${[...load, ...keep].join("\n    ")}
    workgroupBarrier();
    ${multiply.join("\n    ")}
    workgroupBarrier();
  }
  let own = subgroup * (MATRIX_M * SUM_ROW);
  ${write.join("\n  ")}
}
`;
}

/** Eight values into neighbouring places. */
function keepEight(memory: string, at: string, low: string, high: string): string {
  const four = (name: string, from: number): string[] =>
    range(4).map((i) => `${memory}[at + ${from + i}u] = ${name}[${i}];`);
  return `let at = ${at}; let low = ${low}; let high = ${high}; ${[...four("low", 0), ...four("high", 4)].join(" ")}`;
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}
