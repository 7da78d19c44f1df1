import type { SubgroupMatrixShape } from "../../wgsl/dispatch.ts";
import { BLOCK, EIGHT, range, SHEET_COLUMNS, SHEET_ROW, SHEET_VECTORS } from "../../wgsl/sheets.ts";

/** How a workgroup of linear-matrix.wgsl divides its tile. */
export interface TileShape {
  /** Subgroups, one below the other. */
  readonly gridRows: number;
  /** Subgroups side by side. */
  readonly gridCols: number;
  /** Blocks of 16 rows of x that a subgroup has. */
  readonly down: number;
  /** Blocks of 16 rows of W that a subgroup has. */
  readonly across: number;
  /** Columns of x and W that a workgroup takes at a time. */
  readonly columns: number;
}

/** Rows of x and of W of a tile. */
export function tileSize({ gridRows, gridCols, down, across }: TileShape): {
  readonly rows: number;
  readonly cols: number;
} {
  return { rows: gridRows * down * BLOCK, cols: gridCols * across * BLOCK };
}

/**
 * The entry point of linear-matrix.wgsl with the memory it works in, written out statement by statement. What that is for,
 * as measured on an H100 (docs/decisions/0022):
 * - A subgroup's matrices in an array are kept in memory by compilers, hence the names.
 * - Workgroup memory is written 16 bytes at a time. Tint lets a matrix begin at any element of an array, here of vec4<u32>,
 *   but makes its rows 16 elements apart at least. A sheet's row therefore holds the columns of SHEET_COLUMNS / columns
 *   blocks of 16 rows, side by side.
 * - Matrices lie at constant places in a sheet. Of a place that it does not know, Tint has each load checked, in a branch
 *   that keeps loads from overlapping; the sheet alone may be a variable.
 * - The next tile is on its way from the device's memory while this one is multiplied.
 * @param parts f16 values that stand for one of x
 * @param halves whether W is f16 itself: nothing is unpacked, and nothing kept for that
 */
export function matrixProduct(
  tile: TileShape,
  { m, n, k }: SubgroupMatrixShape,
  subgroupSize: number,
  { parts, halves }: { readonly parts: number; readonly halves: boolean },
): string {
  const { gridRows, gridCols, down, across, columns } = tile;
  const { rows: tileRows, cols: tileCols } = tileSize(tile);
  const subgroups = gridRows * gridCols;
  const threads = subgroups * subgroupSize;
  const blocks = SHEET_COLUMNS / columns;
  const sheetsX = (gridRows * down) / blocks;
  const sheetsW = (gridCols * across) / blocks;
  const sheets = Math.max(parts * sheetsX + sheetsW, subgroups);
  const firstSheetW = parts * sheetsX;
  // Threads go along a sheet's row, then down; a piece is 16 bytes.
  const piecesInRow = SHEET_COLUMNS / EIGHT;
  const rowsAtOnce = threads / piecesInRow;
  const piecesOf = (sheetCount: number): Piece[] =>
    range((sheetCount * BLOCK) / rowsAtOnce).map((index) => {
      const row = index * rowsAtOnce;
      return { index, sheet: Math.floor(row / BLOCK), row: row % BLOCK };
    });
  const piecesX = range(parts).flatMap((part) => piecesOf(sheetsX).map((at) => ({ part, ...at })));
  const piecesW = piecesOf(sheetsW);
  /** Rows of x or W below a thread's first. */
  const rowsBelow = ({ sheet, row }: Piece): number => sheet * blocks * BLOCK + row;

  const bring = (at: string): string[] => [
    ...piecesX.map(
      ({ part, ...piece }) =>
        `x${part}_${piece.index} = arena_vector(x_at + ${rowsBelow(piece)}u * half_vectors + ${part}u * part_vectors + (${at}) / ${EIGHT}u);`,
    ),
    ...piecesW.map((piece) =>
      halves
        ? `w${piece.index} = packed_at(w_at + ${rowsBelow(piece)}u * params.row_vectors, ${at} + piece_k);`
        : `w${piece.index} = piece_at(w_row + ${rowsBelow(piece)}u, ${at} + piece_k);`,
    ),
  ];
  const keep = [
    ...piecesX.map(
      ({ part, index, sheet, row }) =>
        `sheets[${part * sheetsX + sheet}][${row * SHEET_ROW}u + piece_to] = x${part}_${index};`,
    ),
    ...piecesW.map(
      ({ index, sheet, row }) =>
        `sheets[${firstSheetW + sheet}][${row * SHEET_ROW}u + piece_to] = ${halves ? `w${index}` : `eight_weights(w${index}, k + piece_k)`};`,
    ),
  ];

  const downs = range((down * BLOCK) / m).map((i) => placeOf(i * m, blocks, columns));
  const acrosses = range((across * BLOCK) / n).map((j) => placeOf(j * n, blocks, columns));
  const sum = (i: number, j: number): string => `sums${i}_${j}`;
  const multiply = range(columns / k).flatMap((inner) => [
    ...acrosses.map(
      ({ sheet, at }, j) =>
        `let right${inner}_${j} = subgroupMatrixLoad<Right, col_major>(&sheets[sheet_w + ${sheet}u], ${at + (inner * k) / EIGHT}u, ${SHEET_ROW}u);`,
    ),
    ...range(parts).flatMap((part) =>
      downs.flatMap(({ sheet, at }, i) => {
        const left = `left${inner}_${part}_${i}`;
        return [
          `let ${left} = subgroupMatrixLoad<Left, row_major>(&sheets[sheet_x + ${part * sheetsX + sheet}u], ${at + (inner * k) / EIGHT}u, ${SHEET_ROW}u);`,
          ...acrosses.map(
            (_, j) =>
              `${sum(i, j)} = subgroupMatrixMultiplyAccumulate(${left}, right${inner}_${j}, ${sum(i, j)});`,
          ),
        ];
      }),
    ),
  ]);
  // Sums leave a block of rows at a time, through the sheets, of which each subgroup has one now. What is added to them is
  // all fetched before the first is written: a compiler has to take it that what is written may be what is read next.
  const quads = range((BLOCK * across * 4) / subgroupSize);
  const quadsInRow = across * 4;
  const write = range(down).flatMap((block) => {
    const xOf = (i: number): string => `x_of_quad${i} + ${block * BLOCK}u`;
    return [
      ...range(BLOCK / m).flatMap((step) =>
        acrosses.map((_, j) => {
          const at = step * m * SHEET_ROW + (j * n) / 4;
          return `subgroupMatrixStore<row_major>(&sheets[subgroup], ${at}u, ${sum((block * BLOCK) / m + step, j)}, ${SHEET_ROW}u);`;
        }),
      ),
      ...quads.map((i) => `var residual${block}_${i}: vec4<f32>;`),
      "if (params.has_residual == 1u) {",
      ...quads.map(
        (i) => `  residual${block}_${i} = residual_four(first_x + ${xOf(i)}, w_of_quad${i});`,
      ),
      "}",
      "workgroupBarrier();",
      ...quads.map(
        (i) =>
          `write_four(bitcast<vec4<f32>>(sheets[subgroup][quad${i}]) * scales_of_rows[${xOf(i)}], residual${block}_${i}, split, first_x + ${xOf(i)}, w_of_quad${i});`,
      ),
      "workgroupBarrier();",
    ];
  });
  const placesOfQuads = quads.flatMap((i) => [
    `let quad_row${i} = (lane + ${i * subgroupSize}u) / ${quadsInRow}u;`,
    `let quad_col${i} = (lane + ${i * subgroupSize}u) % ${quadsInRow}u;`,
    `let quad${i} = quad_row${i} * ${SHEET_ROW}u + quad_col${i};`,
    `let x_of_quad${i} = row_of_grid + quad_row${i};`,
    `let w_of_quad${i} = first_w + col_of_grid + 4u * quad_col${i};`,
  ]);
  return `
var<workgroup> sheets: array<array<vec4<u32>, ${SHEET_VECTORS}>, ${sheets}>;

// What the sums of a row of x are to be multiplied by.
var<workgroup> scales_of_rows: array<f32, ${tileRows}>;

@compute @workgroup_size(${threads})
fn linear_matrix(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let index = workgroup_index(workgroup, grid);
  let tiles_x = (params.rows + ${tileRows - 1}u) / ${tileRows}u;
  let tiles_w = (params.part_rows + ${tileCols - 1}u) / ${tileCols}u;
  let first_x = index % tiles_x * ${tileRows}u;
  let first_w = index / tiles_x % tiles_w * ${tileCols}u;
  let split = index / (tiles_x * tiles_w);
  if (split >= params.splits) {
    return;
  }
  let first_k = split * params.split_columns;
  let end_k = min(first_k + params.split_columns, params.k);
  let grid_row = subgroup / ${gridCols}u;
  let grid_col = subgroup % ${gridCols}u;
  let row_of_grid = grid_row * ${down * BLOCK}u;
  let col_of_grid = grid_col * ${across * BLOCK}u;
  let sheet_x = grid_row * ${down / blocks}u;
  let sheet_w = ${firstSheetW}u + grid_col * ${across / blocks}u;
  let piece_row = thread / ${piecesInRow}u;
  let piece_block = thread % ${piecesInRow}u / ${columns / EIGHT}u;
  let piece_k = thread % ${columns / EIGHT}u * ${EIGHT}u;
  let half_vectors = params.half_words / 4u;
  let part_vectors = params.rows * half_vectors;
  let x_at = params.halves / 4u + (first_x + piece_block * ${BLOCK}u + piece_row) * half_vectors + piece_k / ${EIGHT}u;
  let w_row = first_w + piece_block * ${BLOCK}u + piece_row;
  let w_at = w_row * params.row_vectors;
  let piece_to = piece_row * ${SHEET_ROW}u + thread % ${piecesInRow}u;
  ${piecesX.map(({ part, index }) => `var x${part}_${index}: vec4<u32>;`).join("\n  ")}
  ${piecesW.map(({ index }) => `var w${index}: ${halves ? "vec4<u32>" : "Piece"};`).join("\n  ")}
  ${downs.flatMap((_, i) => acrosses.map((__, j) => `var ${sum(i, j)}: Sums;`)).join("\n  ")}
  ${bring("first_k").join("\n  ")}
  for (var row = thread; row < ${tileRows}u; row += ${threads}u) {
    scales_of_rows[row] = arena_one(params.scales_of_x + first_x + row);
  }
  for (var k = first_k; k < end_k; k += ${columns}u) {
    ${keep.join("\n    ")}
    workgroupBarrier();
    if (k + ${columns}u < end_k) {
      ${bring(`k + ${columns}u`).join("\n      ")}
    }
    ${multiply.join("\n    ")}
    workgroupBarrier();
  }
  ${placesOfQuads.join("\n  ")}
  ${write.join("\n  ")}
}
`;
}

/** Sixteen bytes that each thread brings into a sheet, `row` below the thread's first. */
interface Piece {
  readonly index: number;
  readonly sheet: number;
  readonly row: number;
}

/** Where the matrix whose first row is `row` begins: the sheet, and the vector in it. */
function placeOf(
  row: number,
  blocks: number,
  columns: number,
): { readonly sheet: number; readonly at: number } {
  const block = Math.floor(row / BLOCK);
  return {
    sheet: Math.floor(block / blocks),
    at: (row % BLOCK) * SHEET_ROW + ((block % blocks) * columns) / EIGHT,
  };
}
