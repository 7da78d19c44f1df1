import { BLOCK, EIGHT, range } from "../../wgsl/sheets.ts";

/** Lanes of a subgroup. */
export const LANES = 32;

/** How a workgroup of few-matrix.wgsl divides its work. */
export interface FewMatrixTile {
  /** Subgroups; each multiplies `columns` of the tile's columns. */
  readonly subgroups: number;
  /** Blocks of 16 rows of W. */
  readonly across: number;
  /** Columns of a subgroup. */
  readonly columns: number;
}

/** What the entry point is written for. */
export interface FewMatrixShape {
  readonly tile: FewMatrixTile;
  /** f16 values that stand for one of x. */
  readonly parts: number;
  /** Whether W is f16 itself: nothing is unpacked. */
  readonly halves: boolean;
  /** Columns that one product of matrices takes. */
  readonly matrixK: number;
  /** Whether the columns of W are whole tiles: nothing lies beyond them, and no load asks. */
  readonly whole: boolean;
  /** Columns of x, where each workgroup makes it ready for itself (few-ready.wgsl); null where few-halves.wgsl has. */
  readonly ready: number | null;
}

/** Columns of x and W that a workgroup takes at a time. */
export function columnsOf({ subgroups, columns }: FewMatrixTile): number {
  return subgroups * columns;
}

/** Rows of W that a workgroup computes. */
export function rowsOf({ across }: FewMatrixTile): number {
  return across * BLOCK;
}

/**
 * The entry point of few-matrix.wgsl with the memory it works in, written out statement by statement for the reasons in
 * matrix-product.ts. Each subgroup has a sheet: 16 rows of vectors, in each the columns of this subgroup of a row of x, then
 * of the rows of W below each other in blocks of 16. An odd number of vectors lets rows begin in different banks.
 */
export function fewMatrixProduct({
  tile,
  parts,
  halves,
  matrixK,
  whole,
  ready,
}: FewMatrixShape): string {
  const { subgroups, across, columns } = tile;
  const threads = subgroups * LANES;
  const tileColumns = columnsOf(tile);
  const vectorsInRow = tileColumns / EIGHT;
  const vectorsOfColumns = columns / EIGHT;
  const rowsAtOnce = threads / vectorsInRow;
  const sheetRow = oddFrom(Math.max((parts + across) * vectorsOfColumns, 4 * across, BLOCK));
  const sheetVectors = paddedSheet(sheetRow, vectorsOfColumns);

  const piecesW = range(rowsOf(tile) / rowsAtOnce).map((index) => {
    const row = index * rowsAtOnce;
    const to = (row % BLOCK) * sheetRow + (parts + Math.floor(row / BLOCK)) * vectorsOfColumns;
    return { index, row, to };
  });
  const rowsX = range(BLOCK / rowsAtOnce).map((index) => ({ index, row: index * rowsAtOnce }));
  const piecesX = range(parts).flatMap((part) =>
    rowsX.map(({ index, row }) => {
      return { part, index, row, to: row * sheetRow + part * vectorsOfColumns };
    }),
  );
  const at8 = (row: number, at: string): string =>
    `values[w_at + ${row}u * params.row_pieces + (${at}) / ${EIGHT}u]`;
  const bring = (at: string): string[] => [
    ...piecesW.map(({ index, row }) =>
      halves
        ? `w${index} = ${whole ? at8(row, at) : `select(vec4<u32>(), ${at8(row, at)}, ${at} + piece_k < params.k)`};`
        : `w${index} = piece_at(w_row + ${row}u, ${at} + piece_k);`,
    ),
    ...(ready === null
      ? piecesX.map(
          ({ part, index, row }) =>
            `x${part}_${index} = arena[x_at + ${row}u * half_vectors + ${part}u * part_vectors + (${at}) / ${EIGHT}u];`,
        )
      : [
          `norm_weights = norm_eight_at(${at} + piece_k);`,
          ...rowsX.map(
            ({ index, row }) => `raw${index} = x_eight_at(piece_row + ${row}u, ${at} + piece_k);`,
          ),
        ]),
  ];
  const keep = [
    ...piecesW.map(
      ({ index, to }) =>
        `sheets[sheet][to + ${to}u] = ${halves ? `w${index}` : `eight_weights(w${index}, k + piece_k)`};`,
    ),
    ...(ready === null
      ? []
      : rowsX.map(
          ({ index, row }) =>
            `let eight${index} = ready_eight(piece_row + ${row}u, raw${index}, norm_weights, k + piece_k);`,
        )),
    ...piecesX.map(({ part, index, to }) => {
      const x = part === 0 ? `eight${index}.first` : `eight${index}.second`;
      return `sheets[sheet][to + ${to}u] = ${ready === null ? `x${part}_${index}` : x};`;
    }),
  ];
  const multiply = range(columns / matrixK).flatMap((inner) => {
    const at = (block: number): string =>
      `&sheets[subgroup], ${block * vectorsOfColumns + (inner * matrixK) / EIGHT}u, ${sheetRow}u`;
    return [
      ...range(across).map(
        (j) => `let right${inner}_${j} = subgroupMatrixLoad<Right, col_major>(${at(parts + j)});`,
      ),
      ...range(parts).flatMap((part) => [
        `let left${inner}_${part} = subgroupMatrixLoad<Left, row_major>(${at(part)});`,
        ...range(across).map(
          (j) =>
            `sums${j} = subgroupMatrixMultiplyAccumulate(left${inner}_${part}, right${inner}_${j}, sums${j});`,
        ),
      ]),
    ];
  });
  const quadsInRow = 4 * across;
  const quads = range(Math.ceil((BLOCK * quadsInRow) / threads));
  const write = quads.flatMap((i) => {
    const cell = `thread + ${i * threads}u`;
    const isThere = (i + 1) * threads <= BLOCK * quadsInRow;
    const sums = range(subgroups)
      .map((group) => `bitcast<vec4<f32>>(sheets[${group}][quad])`)
      .join(" + ");
    return [
      `${isThere ? "" : `if (${cell} < ${BLOCK * quadsInRow}u) `}{`,
      `  let row = (${cell}) / ${quadsInRow}u;`,
      `  let col = (${cell}) % ${quadsInRow}u;`,
      `  let quad = row * ${sheetRow}u + col;`,
      `  write_four(row, first_w + 4u * col, ${sums});`,
      "}",
    ];
  });
  const scaleOfSums =
    ready === null
      ? "fn scale_of_sums(row: u32) -> f32 { return arena_at(params.scales_of_x + row); }"
      : "fn scale_of_sums(row: u32) -> f32 { return factors_of_rows[row]; }";
  return `
${scaleOfSums}

var<workgroup> sheets: array<array<vec4<u32>, ${sheetVectors}>, ${subgroups}>;

@compute @workgroup_size(${threads})
fn linear_few_matrix(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let first_w = workgroup_index(workgroup, grid) * ${rowsOf(tile)}u;
  let piece_row = thread / ${vectorsInRow}u;
  let piece_k = thread % ${vectorsInRow}u * ${EIGHT}u;
  let half_vectors = params.half_words / 4u;
  let part_vectors = params.rows * half_vectors;
  let x_at = params.halves / 4u + piece_row * half_vectors + piece_k / ${EIGHT}u;
  let w_row = first_w + piece_row;
  let w_at = w_row * params.row_pieces + piece_k / ${EIGHT}u;
  let sheet = piece_k / ${columns}u;
  let to = piece_row * ${sheetRow}u + piece_k % ${columns}u / ${EIGHT}u;
  ${piecesW.map(({ index }) => `var w${index}: ${halves ? "vec4<u32>" : "Piece"};`).join(" ")}
  ${
    ready === null
      ? piecesX.map(({ part, index }) => `var x${part}_${index}: vec4<u32>;`).join(" ")
      : `var norm_weights: Eight; ${rowsX.map(({ index }) => `var raw${index}: Eight;`).join(" ")}`
  }
  ${range(across)
    .map((j) => `var sums${j}: Sums;`)
    .join(" ")}
  ${bring("0u").join("\n  ")}
  ${ready === null ? "" : lookAtRows(subgroups, ready)}
  for (var k = 0u; k < params.k; k += ${tileColumns}u) {
    ${keep.join("\n    ")}
    workgroupBarrier();
    // Under way while these are multiplied.
    if (k + ${tileColumns}u < params.k) {
      ${bring(`k + ${tileColumns}u`).join("\n      ")}
    }
    ${multiply.join("\n    ")}
    workgroupBarrier();
  }
  ${range(across)
    .map(
      (j) =>
        `subgroupMatrixStore<row_major>(&sheets[subgroup], ${4 * j}u, sums${j}, ${sheetRow}u);`,
    )
    .join("\n  ")}
  workgroupBarrier();
  ${write.join("\n  ")}
}
`;
}

/**
 * What few-ready.wgsl must know of each row of x before its columns are rounded: a subgroup looks at some rows, a lane at every
 * 32nd four columns. Written out, so that all is asked for at once.
 */
function lookAtRows(subgroups: number, columns: number): string {
  const rows = range(BLOCK / subgroups);
  const fours = range(Math.ceil(columns / (4 * LANES)));
  const first = `${BLOCK / subgroups}u * subgroup`;
  const at = (i: number): string => `4u * (lane + ${i * LANES}u)`;
  return [
    ...fours.map((i) => `let norms${i} = norm_four_at(${at(i)});`),
    ...rows.flatMap((row) =>
      fours.map(
        (i) =>
          `let of${row}_${i} = ready_four(x_four_at(${first} + ${row}u, ${at(i)}), norms${i}, ${at(i)});`,
      ),
    ),
    ...rows.flatMap((row) => [
      `var magnitudes${row} = vec4<u32>();`,
      ...fours.map(
        (i) => `magnitudes${row} = max(magnitudes${row}, magnitudes(of${row}_${i}.values));`,
      ),
      `let most${row} = subgroupMax(most_in(magnitudes${row}));`,
      `let squares${row} = subgroupAdd(${fours.map((i) => `of${row}_${i}.squares`).join(" + ")});`,
    ]),
    "if (lane == 0u) {",
    ...rows.map((row) => `  keep_row(${first} + ${row}u, most${row}, squares${row});`),
    "}",
    "workgroupBarrier();",
  ].join("\n  ");
}

/**
 * Vectors of a sheet: its rows, what Tint believes a matrix at its end to reach to (as in matrix-product.ts), and so many more
 * that neighbours which write to two sheets at once meet in no bank.
 */
function paddedSheet(sheetRow: number, vectorsOfColumns: number): number {
  const least = BLOCK * sheetRow + BLOCK;
  return vectorsOfColumns >= EIGHT ? least : Math.ceil(least / EIGHT) * EIGHT + vectorsOfColumns;
}

function oddFrom(count: number): number {
  return count % 2 === 1 ? count : count + 1;
}
