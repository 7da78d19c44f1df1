import { BLOCK, EIGHT, range, SHEET_COLUMNS, SHEET_ROW } from "../../wgsl/sheets.ts";
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
  quadsOf,
  STATES,
  store,
  sum,
  tokenSheets,
  TILE_P,
  TILE_VECTORS,
} from "./ssd-sheets.ts";

/** Tokens that a workgroup has outputs of. */
export const OUTPUT_TOKENS = 64;

/**
 * ssd_output_matrix: y = Y_diag + Y_off + D x, gated by z, as in ssd-output.wgsl.
 * Grid: a workgroup a (b, chunk, 64 channels) and OUTPUT_TOKENS tokens.
 */
export function ssdOutput(): string {
  const grid: Grid = { rows: 2, cols: 2, down: 2, across: 2 };
  const threads = grid.rows * grid.cols * LANES;
  /** Tokens j, then states, at a time. */
  const columns = 64;
  const blocks = SHEET_COLUMNS / columns;
  const columnVectors = columns / EIGHT;
  const sheetsA = OUTPUT_TOKENS / BLOCK / blocks;
  const sheetsX = tokenSheets(sheetsA, {
    tokens: columns,
    values: TILE_P,
    group: grid.across * BLOCK,
  });
  const sheetsB = Math.max(sheetsX.count, TILE_P / BLOCK / blocks);
  const aRows = threads / columnVectors;
  const xRows = threads / TILE_VECTORS;
  const piecesA = range(OUTPUT_TOKENS / aRows);
  const piecesX = range(columns / xRows);
  const piecesH = range(TILE_P / aRows);
  /** Where rows stand one below the other in blocks, as in matrix-product.ts. */
  const toRows = (first: number, row: string): Place => ({
    sheet: `${first}u + ${row} / ${BLOCK * blocks}u`,
    vector: `${row} % ${BLOCK}u * ${SHEET_ROW}u + ${row} / ${BLOCK}u % ${blocks}u * ${columnVectors}u + piece`,
  });
  const aRow = (i: number): string => `(piece_row + ${i * aRows}u)`;
  const bringTokens = [
    ...piecesA.map(
      (i) => `let a${i} = arena_vector(score_at(chunk_group, first_i + ${aRow(i)}, k) + piece);`,
    ),
    ...piecesX.flatMap((i) => [
      `let x${i}_at = x_at(chunk.first_row + min(k + x_row + ${i * xRows}u, last), channel);`,
      `let x${i}_low = arena_values(x${i}_at);`,
      `let x${i}_high = arena_values(x${i}_at + 4u);`,
    ]),
  ];
  const bringStates = [
    ...piecesA.map(
      (i) =>
        `let a${i} = arena_vector(shared_at(params.c_halves, chunk.first_row + min(first_i + ${aRow(i)}, last), group, k) + piece);`,
    ),
    ...piecesH.map(
      (i) =>
        `let h${i} = arena_vector(start_at(chunk.sequence_chunk, first_channel + ${aRow(i)}, k) + piece);`,
    ),
  ];
  const keepTokens = [
    `let j = vec4<u32>(k + ${EIGHT}u * piece) + vec4<u32>(0u, 1u, 2u, 3u);`,
    `let low_sums = vec4<f32>(sums[j.x], sums[j.y], sums[j.z], sums[j.w]);`,
    `let high_sums = vec4<f32>(sums[j.x + 4u], sums[j.y + 4u], sums[j.z + 4u], sums[j.w + 4u]);`,
    ...piecesA.flatMap((i) => [
      `let i${i} = vec4<u32>(first_i + ${aRow(i)});`,
      `let sum${i} = vec4<f32>(sums[i${i}.x]);`,
      // Above the diagonal the exponent is positive, and the scores may be anything.
      `let low_scores${i} = select(vec4<f32>(), exp(sum${i} - low_sums) * low_of(a${i}), j <= i${i});`,
      `let high_scores${i} = select(vec4<f32>(), exp(sum${i} - high_sums) * high_of(a${i}), j + 4u <= i${i});`,
      put(toRows(0, aRow(i)), `halves_of(low_scores${i}, high_scores${i})`),
    ]),
    ...piecesX.flatMap((i) => [
      `let x${i}_scale = scale * factors[k + x_row + ${i * xRows}u];`,
      put(
        sheetsX.to(`(x_row + ${i * xRows}u)`, "x_piece"),
        `halves_of(x${i}_scale * x${i}_low, x${i}_scale * x${i}_high)`,
      ),
    ]),
  ];
  const keepStates = [
    ...piecesA.flatMap((i) => [
      `let decay${i} = exp(sums[first_i + ${aRow(i)}]);`,
      put(toRows(0, aRow(i)), `halves_of(decay${i} * low_of(a${i}), decay${i} * high_of(a${i}))`),
    ]),
    ...piecesH.flatMap((i) => [
      `let h${i}_scale = scale * scales_of_starts[${aRow(i)}];`,
      put(
        toRows(sheetsA, aRow(i)),
        `halves_of(h${i}_scale * low_of(h${i}), h${i}_scale * high_of(h${i}))`,
      ),
    ]),
  ];
  const multiply = (right: (k: number, j: number) => string): string[] =>
    range(columns / BLOCK).flatMap((k) => [
      ...range(grid.across).map((j) => right(k, j)),
      ...range(grid.down).flatMap((i) => [
        load("Left", "row", `left${k}_${i}`, {
          sheet: `sheet_a + ${Math.floor(i / blocks)}u`,
          vector: `${(i % blocks) * columnVectors + (k * BLOCK) / EIGHT}u`,
        }),
        ...range(grid.across).map((j) => addProduct(sum(i, j), `left${k}_${i}`, `right${k}_${j}`)),
      ]),
    ]);
  const multiplyTokens = multiply((k, j) =>
    load("Right", "row", `right${k}_${j}`, sheetsX.matrix("grid_col", k, j)),
  );
  const multiplyStates = multiply((k, j) =>
    load("Right", "col", `right${k}_${j}`, {
      sheet: `sheet_h + ${Math.floor(j / blocks)}u`,
      vector: `${(j % blocks) * columnVectors + (k * BLOCK) / EIGHT}u`,
    }),
  );
  // What is added is all fetched before anything is written: a compiler has to take it that what is written may be what is
  // read next.
  const write = range(grid.down).flatMap((i) => [
    ...range(grid.across).map((j) =>
      store(sum(i, j), { sheet: "subgroup", vector: `${(j * BLOCK) / 4}u` }),
    ),
    ...quadsOf(grid.across).flatMap(({ row, col }, quad) => [
      `let token${i}_${quad} = first_i + row_of_grid + ${i * BLOCK}u + ${row};`,
      `let row${i}_${quad} = chunk.first_row + min(token${i}_${quad}, last);`,
      `let channel${i}_${quad} = channel_of_grid + 4u * (${col});`,
      `let factor${i}_${quad} = arena_one(params.c_scales + row${i}_${quad} * params.groups + group) / scale;`,
      `let skip${i}_${quad} = skip_of(row${i}_${quad}, channel${i}_${quad}, head);`,
      `let gate${i}_${quad} = gate_of(row${i}_${quad}, channel${i}_${quad});`,
    ]),
    "workgroupBarrier();",
    ...quadsOf(grid.across).flatMap(({ vector }, quad) => [
      `if (token${i}_${quad} <= last) {`,
      `  let four = factor${i}_${quad} * bitcast<vec4<f32>>(sheets[subgroup][${vector}]) + skip${i}_${quad};`,
      `  keep_four(params.y_offset + row${i}_${quad} * params.y_stride + channel${i}_${quad}, gate${i}_${quad} * four, 4u);`,
      `}`,
    ]),
    "workgroupBarrier();",
  ]);
  return `
// Of the chunk's tokens: Σ dt A, and dt with what its B is to be multiplied by.
var<workgroup> sums: array<f32, ${CHUNK}>;
var<workgroup> factors: array<f32, ${CHUNK}>;
var<workgroup> scales_of_starts: array<f32, ${TILE_P}>;
var<workgroup> most_of: array<f32, ${threads / LANES}>;
${entryPoint("ssd_output_matrix", threads, Math.max(sheetsA + sheetsB, threads / LANES))}
  let tiles = params.heads * params.head_dim / ${TILE_P}u;
  let chunk_tile = index / ${CHUNK / OUTPUT_TOKENS}u;
  if (chunk_tile >= params.batch * params.chunks * tiles) {
    return;
  }
  let chunk = chunk_at(chunk_tile / tiles);
  let last = chunk.tokens - 1u;
  let first_i = index % ${CHUNK / OUTPUT_TOKENS}u * ${OUTPUT_TOKENS}u;
  if (first_i > last) {
    return;
  }
  let first_channel = chunk_tile % tiles * ${TILE_P}u;
  let head = first_channel / params.head_dim;
  let group = head * params.groups / params.heads;
  let chunk_group = chunk.sequence_chunk * params.groups + group;
  let last_of_tile = min(first_i + ${OUTPUT_TOKENS - 1}u, last);
  let grid_row = subgroup / ${grid.cols}u;
  let grid_col = subgroup % ${grid.cols}u;
  let row_of_grid = grid_row * ${grid.down * BLOCK}u;
  let channel_of_grid = first_channel + grid_col * ${grid.across * BLOCK}u;
  let sheet_a = grid_row * ${grid.down / blocks}u;
  let sheet_h = ${sheetsA}u + grid_col * ${grid.across / blocks}u;
  let piece_row = thread / ${columnVectors}u;
  let piece = thread % ${columnVectors}u;
  let x_row = thread / ${TILE_VECTORS}u;
  let x_piece = thread % ${TILE_VECTORS}u;
  let channel = first_channel + ${EIGHT}u * x_piece;
  ${declareSums(grid)}
  // What the sums of the tile may reach tells the one power of two that x and h have in common.
  var most = 0.0;
  for (var token = thread; token < ${CHUNK}u; token += ${threads}u) {
    let row = chunk.first_row + min(token, last);
    let factor = select(0.0, factor_at(row, head, group), token <= last);
    factors[token] = factor;
    sums[token] = sum_at(row, head);
    most = max(most, factor);
  }
  most *= arena_one(params.most_of_x + chunk_tile);
  if (thread < ${TILE_P}u) {
    let most_of_start = arena_one(params.most_of_starts + chunk_tile * ${TILE_P}u + thread);
    scales_of_starts[thread] = 1.0 / scale_for(most_of_start, LARGEST);
    most = max(most, most_of_start);
  }
  most = subgroupMax(most);
  if (lane == 0u) {
    most_of[subgroup] = most;
  }
  workgroupBarrier();
  most = 0.0;
  for (var i = 0u; i < ${threads / LANES}u; i += 1u) {
    most = max(most, most_of[i]);
  }
  let scale = scale_for(most, LARGEST);
  for (var k = 0u; k <= last_of_tile; k += ${columns}u) {
    ${[...bringTokens, ...keepTokens].join("\n    ")}
    workgroupBarrier();
    ${multiplyTokens.join("\n    ")}
    workgroupBarrier();
  }
  for (var k = 0u; k < ${STATES}u; k += ${columns}u) {
    ${[...bringStates, ...keepStates].join("\n    ")}
    workgroupBarrier();
    ${multiplyStates.join("\n    ")}
    workgroupBarrier();
  }
  ${write.join("\n  ")}
}
`;
}
