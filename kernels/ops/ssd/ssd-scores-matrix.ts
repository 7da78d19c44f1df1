import { BLOCK, EIGHT, range, SHEET_ROW } from "../../wgsl/sheets.ts";
import {
  addProduct,
  CHUNK,
  declareSums,
  entryPoint,
  type Grid,
  LANES,
  load,
  type Place,
  put,
  STATE_VECTORS,
  STATES,
  store,
  sum,
} from "./ssd-sheets.ts";

/** Rows of C of a tile of scores. */
export const SCORE_ROWS = 32;
/** Rows of B of a tile of scores. */
export const SCORE_COLS = 64;
/** Four subgroups, or a token's thread each. */
const THREADS = CHUNK;

/**
 * ssd_scores: B and C as f16, C Bᵀ of them, dt of each token, and Σ dt A from the chunk's start up to it.
 * Grid: a workgroup a (b, chunk, group) and tile of 32 × 64 scores; behind those one a (b, chunk, head).
 */
export function ssdScores(): string {
  const grid: Grid = { rows: 1, cols: 4, down: SCORE_ROWS / BLOCK, across: 1 };
  const sheetsC = SCORE_ROWS / BLOCK;
  const sheetsB = SCORE_COLS / BLOCK;
  const tilesDown = CHUNK / SCORE_ROWS;
  const tilesAcross = CHUNK / SCORE_COLS;
  const rowsAtOnce = THREADS / STATE_VECTORS;
  const pieces = (name: string, rows: number, firstSheet: number) =>
    range(rows / rowsAtOnce).map((i) => {
      const below = i * rowsAtOnce;
      return {
        row: `${name}${i}_row`,
        low: `${name}${i}_low`,
        high: `${name}${i}_high`,
        below,
        place: {
          sheet: `${firstSheet + Math.floor(below / BLOCK)}u`,
          vector: `(row + ${below % BLOCK}u) * ${SHEET_ROW}u + piece`,
        },
      };
    });
  const ofC = pieces("c", SCORE_ROWS, 0);
  const ofB = pieces("b", SCORE_COLS, sheetsC);
  const bring = (all: typeof ofC, operand: "b" | "c"): string[] =>
    all.flatMap(({ row, low, high, below }) => [
      `let ${row} = first_${operand} + row + ${below}u;`,
      `let ${row}_at = params.${operand}_offset + (chunk.first_row + min(${row}, last)) * params.${operand}_stride + group * ${STATES}u + ${EIGHT}u * piece;`,
      `let ${low} = arena_values(${row}_at);`,
      `let ${high} = arena_values(${row}_at + 4u);`,
    ]);
  const keep = (all: typeof ofC, operand: "b" | "c"): string[] =>
    all.flatMap(({ row, low, high, place }) => [
      `let ${row}_scale = scale_for(largest_of_row(max(largest_of(${low}), largest_of(${high}))), 0u);`,
      `let ${row}_halves = halves_of(${row}_scale * ${low}, ${row}_scale * ${high});`,
      put(place, `${row}_halves`),
      `if (keeps_${operand} && ${row} <= last) {`,
      `  arena[shared_at(params.${operand}_halves, chunk.first_row + ${row}, group, 0u) + piece] = ${row}_halves;`,
      `  if (piece == 0u) {`,
      `    arena_put_one(params.${operand}_scales + (chunk.first_row + ${row}) * params.groups + group, 1.0 / ${row}_scale);`,
      `  }`,
      `}`,
    ]);
  const multiply = range(STATES / BLOCK).flatMap((k) => {
    const at = (sheet: string): Place => ({ sheet, vector: `${(k * BLOCK) / EIGHT}u` });
    return [
      load("Right", "col", `right${k}`, at(`${sheetsC}u + subgroup`)),
      ...range(grid.down).flatMap((i) => [
        load("Left", "row", `left${k}_${i}`, at(`${i}u`)),
        addProduct(sum(i, 0), `left${k}_${i}`, `right${k}`),
      ]),
    ];
  });
  const scoreVectors = SCORE_COLS / EIGHT;
  const write = range((SCORE_ROWS * scoreVectors) / THREADS).flatMap((i) => {
    const row = `score_row${i}`;
    const vector = `sheets[${row} / ${BLOCK}u][${row} % ${BLOCK}u * ${SHEET_ROW}u + 2u * score_piece`;
    return [
      `let ${row} = thread / ${scoreVectors}u + ${(i * THREADS) / scoreVectors}u;`,
      `arena[score_at(chunk_group, first_c + ${row}, first_b) + score_piece] = halves_of(bitcast<vec4<f32>>(${vector}]), bitcast<vec4<f32>>(${vector} + 1u]));`,
    ];
  });
  return `
var<workgroup> scan: array<array<f32, ${CHUNK}>, 2>;

// Of the lanes that have a token's row.
fn largest_of_row(largest: f32) -> f32 {
  var most = largest;
  ${range(Math.log2(STATE_VECTORS))
    .map((step) => `most = max(most, subgroupShuffleXor(most, ${2 ** step}u));`)
    .join("\n  ")}
  return most;
}
${entryPoint("ssd_scores", THREADS, sheetsC + sheetsB)}
  let chunks = params.batch * params.chunks;
  let products = chunks * params.groups * ${tilesDown * tilesAcross}u;
  if (index < products) {
    let chunk_group = index / ${tilesDown * tilesAcross}u;
    let group = chunk_group % params.groups;
    let chunk = chunk_at(chunk_group / params.groups);
    let last = chunk.tokens - 1u;
    let tile_c = index / ${tilesAcross}u % ${tilesDown}u;
    let tile_b = index % ${tilesAcross}u;
    let first_c = tile_c * ${SCORE_ROWS}u;
    let first_b = tile_b * ${SCORE_COLS}u;
    // Above the diagonal there are none.
    if (first_b > first_c + ${SCORE_ROWS - 1}u || first_c > last) {
      return;
    }
    // One of the tiles that bring in a row keeps it.
    let keeps_c = tile_b == 0u;
    let keeps_b = first_c == first_b;
    let row = subgroup * ${LANES / STATE_VECTORS}u + lane / ${STATE_VECTORS}u;
    let piece = lane % ${STATE_VECTORS}u;
    ${declareSums(grid)}
    ${[...bring(ofC, "c"), ...bring(ofB, "b"), ...keep(ofC, "c"), ...keep(ofB, "b")].join("\n    ")}
    workgroupBarrier();
    ${multiply.join("\n    ")}
    workgroupBarrier();
    ${range(grid.down)
      .map((i) => store(sum(i, 0), { sheet: `${i}u`, vector: `${BLOCK / 4}u * subgroup` }))
      .join("\n    ")}
    workgroupBarrier();
    let score_piece = thread % ${scoreVectors}u;
    ${write.join("\n    ")}
    return;
  }
  let chunk_head = index - products;
  if (chunk_head >= chunks * params.heads) {
    return;
  }
  let chunk = chunk_at(chunk_head / params.heads);
  let head = chunk_head % params.heads;
  let row = chunk.first_row + min(thread, chunk.tokens - 1u);
  let dt = dt_at(row, head);
  var sum = select(0.0, dt * A[head], thread < chunk.tokens);
  scan[0][thread] = sum;
  workgroupBarrier();
  for (var step = 0u; step < ${Math.log2(CHUNK)}u; step += 1u) {
    let reach = 1u << step;
    if (thread >= reach) {
      sum += scan[step % 2u][thread - reach];
    }
    scan[(step + 1u) % 2u][thread] = sum;
    workgroupBarrier();
  }
  if (thread < chunk.tokens) {
    arena_put_one(per_token(params.dts, row, head), dt);
    arena_put_one(per_token(params.sums, row, head), sum);
  }
}
`;
}
