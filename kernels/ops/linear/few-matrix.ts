/** Columns that a workgroup of few-matrix.wgsl takes at a time. */
export const TILE_K = 256;
/** Values from one row of a tile to the next. */
const ROW = TILE_K + 8;
/** Columns of these that each of its subgroups multiplies. */
const SLICE = 32;
/** Rows of x and of W that a subgroup brings to workgroup memory, of every 16. */
const OWN_ROWS = 2;
/** Lanes of a subgroup. */
export const LANES = 32;

/** What the entry point is written for. */
export interface FewMatrixShape {
  /** f16 values that stand for one of x. */
  readonly parts: number;
  /** Times 16 rows of W. */
  readonly across: number;
  /** Values of W in a word: 2, 4 or 8. */
  readonly wordValues: number;
  /** Columns that one product of matrices takes. */
  readonly matrixK: number;
  /** Whether the columns of W are whole tiles: nothing lies beyond them, and no load asks. */
  readonly whole: boolean;
}

/**
 * The entry point of few-matrix.wgsl, written out statement by statement for the same reason as in matrix-product.ts. A
 * lane brings single words, so that a row is read as it lies and neighbouring lanes write neighbouring banks.
 */
export function fewMatrixProduct({
  parts,
  across,
  wordValues,
  matrixK,
  whole,
}: FewMatrixShape): string {
  const wRows = range(OWN_ROWS * across).map((row) => ({
    row,
    place: `${OWN_ROWS}u * subgroup + ${Math.floor(row / OWN_ROWS) * 16 + (row % OWN_ROWS)}u`,
  }));
  const xRows = range(parts).flatMap((part) => range(OWN_ROWS).map((own) => ({ part, own })));
  const wWords = range(TILE_K / wordValues / LANES);
  const xWords = range(TILE_K / 2 / LANES);

  const load = [
    ...wRows.flatMap(({ row }) =>
      wWords.map((word) => {
        const at = `lane + ${word * LANES}u`;
        const to = `w${row}_${word}`;
        const take = `${to} = values[w_first${row} + k / ${wordValues}u + ${at}];`;
        if (whole) return take;
        return `if (k + (${at}) * ${wordValues}u < params.k) { ${take} } else { ${to} = 0u; }`;
      }),
    ),
    ...xRows.flatMap(({ part, own }) =>
      xWords.map((word) => {
        const at = `k / 2u + lane + ${word * LANES}u`;
        const to = `x${part}_${own}_${word}`;
        const take = `${to} = arena[x_first${part}_${own} + ${at}];`;
        if (whole) return take;
        return `if (${at} < params.half_words) { ${take} } else { ${to} = 0u; }`;
      }),
    ),
  ];
  const keep = [
    ...wRows.flatMap(({ row, place }) =>
      wWords.map((word) => {
        const column = `(lane + ${word * LANES}u) * ${wordValues}u`;
        const at = `let at = (${place}) * ${ROW}u + ${column};`;
        if (wordValues === 2)
          return `{ ${at} let two = two_halves(w${row}_${word}); w_memory[at] = two.x; w_memory[at + 1u] = two.y; }`;
        const fours = range(wordValues / 4).map(
          (four) =>
            `let four${four} = four_halves(w${row}_${word}, w_row${row}, k + ${column} + ${4 * four}u); ` +
            range(4)
              .map((i) => `w_memory[at + ${4 * four + i}u] = four${four}[${i}];`)
              .join(" "),
        );
        if (whole) return `{ ${at} ${fours.join(" ")} }`;
        const zeros = range(wordValues).map((i) => `w_memory[at + ${i}u] = 0.0h;`);
        // Beyond K there are no blocks.
        return `{ ${at} if (k + ${column} < params.k) { ${fours.join(" ")} } else { ${zeros.join(" ")} } }`;
      }),
    ),
    ...xRows.flatMap(({ part, own }) =>
      xWords.map((word) => {
        const row = `${part * 16 + own}u + ${OWN_ROWS}u * subgroup`;
        const at = `let at = (${row}) * ${ROW}u + (lane + ${word * LANES}u) * 2u;`;
        return `{ ${at} let two = bitcast<vec2<f16>>(x${part}_${own}_${word}); x_memory[at] = two.x; x_memory[at + 1u] = two.y; }`;
      }),
    ),
  ];
  const multiply = range(SLICE / matrixK).flatMap((inner) => [
    ...range(across).map(
      (j) =>
        `let right${inner}_${j} = subgroupMatrixLoad<Right, col_major>(&w_memory, ${j * 16 * ROW + inner * matrixK}u + slice, ${ROW}u);`,
    ),
    ...range(parts).flatMap((part) => [
      `let left${inner}_${part} = subgroupMatrixLoad<Left, row_major>(&x_memory, ${part * 16 * ROW + inner * matrixK}u + slice, ${ROW}u);`,
      ...range(across).map(
        (j) =>
          `sums${j} = subgroupMatrixMultiplyAccumulate(left${inner}_${part}, right${inner}_${j}, sums${j});`,
      ),
    ]),
  ]);
  const write = range(across).flatMap((j) => [
    "workgroupBarrier();",
    `subgroupMatrixStore<row_major>(&sum_memory, subgroup * (16u * SUM_ROW), sums${j}, SUM_ROW);`,
    "workgroupBarrier();",
    `write_tile(first_w + ${16 * j}u, thread);`,
  ]);
  return `
@compute @workgroup_size(SUBGROUPS * SUBGROUP)
fn linear_few_matrix(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let first_w = workgroup_index(workgroup, grid) * ${16 * across}u;
  let slice = subgroup * ${SLICE}u;
  // Rows beyond the last are the last: their sums are not written.
  ${wRows.map(({ row, place }) => `let w_row${row} = min(first_w + ${place}, params.part_rows - 1u); let w_first${row} = w_row${row} * params.row_words;`).join("\n  ")}
  ${xRows.map(({ part, own }) => `let x_first${part}_${own} = params.halves + (${part}u * params.rows + min(${OWN_ROWS}u * subgroup + ${own}u, params.rows - 1u)) * params.half_words;`).join("\n  ")}
  ${wRows.flatMap(({ row }) => wWords.map((word) => `var w${row}_${word}: u32;`)).join(" ")}
  ${xRows.flatMap(({ part, own }) => xWords.map((word) => `var x${part}_${own}_${word}: u32;`)).join(" ")}
  ${range(across)
    .map((j) => `var sums${j}: Sums;`)
    .join(" ")}
  var k = 0u;
  ${load.join("\n  ")}
  loop {
    ${keep.join("\n    ")}
    workgroupBarrier();
    k += ${TILE_K}u;
    // Under way while these are multiplied.
    if (k < params.k) {
      ${load.join("\n      ")}
    }
    ${multiply.join("\n    ")}
    if (k >= params.k) {
      break;
    }
    workgroupBarrier();
  }
  ${write.join("\n  ")}
}
`;
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}
