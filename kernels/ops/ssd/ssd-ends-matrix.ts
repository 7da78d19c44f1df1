import { BLOCK, EIGHT, range } from "../../wgsl/sheets.ts";
import {
  addProduct,
  CHUNK,
  declareSums,
  entryPoint,
  type Grid,
  LANES,
  load,
  put,
  quadsOf,
  STATE_VECTORS,
  STATES,
  store,
  sum,
  tokenSheets,
  TILE_P,
  TILE_VECTORS,
} from "./ssd-sheets.ts";

/**
 * ssd_ends_matrix: S_c = Σ_j exp(Σ_{k>j} dt A) dt[j] x[j] ⊗ B[j], but for its scale.
 * Grid: a workgroup a (b, chunk, 64 channels).
 */
export function ssdEnds(): string {
  const grid: Grid = { rows: 2, cols: 4, down: 2, across: 2 };
  const threads = grid.rows * grid.cols * LANES;
  /** Tokens at a time. */
  const tokens = 64;
  const sheetsX = tokenSheets(0, { tokens, values: TILE_P, group: grid.down * BLOCK });
  const sheetsB = tokenSheets(sheetsX.count, {
    tokens,
    values: STATES,
    group: grid.across * BLOCK,
  });
  const xRows = threads / TILE_VECTORS;
  const bRows = threads / STATE_VECTORS;
  const piecesX = range(CHUNK / xRows);
  const piecesB = range(tokens / bRows);
  const bringX = piecesX.flatMap((i) => [
    `let x${i}_at = x_at(chunk.first_row + min(x_row + ${i * xRows}u, last), channel);`,
    `let x${i}_low = arena_values(x${i}_at);`,
    `let x${i}_high = arena_values(x${i}_at + 4u);`,
  ]);
  const largest = piecesX.flatMap((i) => [
    `let x${i}_most = max(largest_of(x${i}_low), largest_of(x${i}_high));`,
    `most_of_x = max(most_of_x, x${i}_most);`,
    `most = max(most, factors[x_row + ${i * xRows}u] * x${i}_most);`,
  ]);
  const bringB = (first: number): string[] =>
    piecesB.map(
      (i) =>
        `b${i} = arena_vector(shared_at(params.b_halves, chunk.first_row + min(b_row + ${first + i * bRows}u, last), group, 0u) + b_piece);`,
    );
  const keepX = (first: number): string[] =>
    piecesX
      .filter((i) => i * xRows >= first && i * xRows < first + tokens)
      .flatMap((i) => [
        `let x${i}_scale = scale * factors[x_row + ${i * xRows}u];`,
        put(
          sheetsX.to(`(x_row + ${i * xRows - first}u)`, "x_piece"),
          `halves_of(x${i}_scale * x${i}_low, x${i}_scale * x${i}_high)`,
        ),
      ]);
  const keepB = piecesB.map((i) => put(sheetsB.to(`(b_row + ${i * bRows}u)`, "b_piece"), `b${i}`));
  const multiply = range(tokens / BLOCK).flatMap((block) => [
    ...range(grid.across).map((j) =>
      load("Right", "row", `right${block}_${j}`, sheetsB.matrix("grid_col", block, j)),
    ),
    ...range(grid.down).flatMap((i) => [
      load("Left", "col", `left${block}_${i}`, sheetsX.matrix("grid_row", block, i)),
      ...range(grid.across).map((j) =>
        addProduct(sum(i, j), `left${block}_${i}`, `right${block}_${j}`),
      ),
    ]),
  ]);
  const steps = range(CHUNK / tokens).map(
    (step) => `{
    ${[...bringB(step * tokens), ...keepX(step * tokens), ...keepB].join("\n    ")}
    workgroupBarrier();
    ${multiply.join("\n    ")}
    workgroupBarrier();
  }`,
  );
  const write = range(grid.down).flatMap((i) => [
    ...range(grid.across).map((j) =>
      store(sum(i, j), { sheet: "subgroup", vector: `${(j * BLOCK) / 4}u` }),
    ),
    "workgroupBarrier();",
    ...quadsOf(grid.across).map(
      ({ row, col, vector }) =>
        `arena[first_sum + (${row} + ${i * BLOCK}u) * ${STATES / 4}u + ${col}] = sheets[subgroup][${vector}];`,
    ),
    "workgroupBarrier();",
  ]);
  return `
// dt and decay to the chunk's end of each token, with what its B is to be multiplied by.
var<workgroup> factors: array<f32, ${CHUNK}>;
var<workgroup> most_of: array<vec2<f32>, ${threads / LANES}>;
${entryPoint("ssd_ends_matrix", threads, Math.max(sheetsX.count + sheetsB.count, threads / LANES))}
  let tiles = params.heads * params.head_dim / ${TILE_P}u;
  if (index >= params.batch * params.chunks * tiles) {
    return;
  }
  let chunk = chunk_at(index / tiles);
  let last = chunk.tokens - 1u;
  let first_channel = index % tiles * ${TILE_P}u;
  let head = first_channel / params.head_dim;
  let group = head * params.groups / params.heads;
  let grid_row = subgroup / ${grid.cols}u;
  let grid_col = subgroup % ${grid.cols}u;
  let x_row = thread / ${TILE_VECTORS}u;
  let x_piece = thread % ${TILE_VECTORS}u;
  let channel = first_channel + ${EIGHT}u * x_piece;
  let b_row = thread / ${STATE_VECTORS}u;
  let b_piece = thread % ${STATE_VECTORS}u;
  ${declareSums(grid)}
  ${piecesB.map((i) => `var b${i}: vec4<u32>;`).join("\n  ")}
  ${bringX.join("\n  ")}
  if (thread < ${CHUNK}u) {
    let row = chunk.first_row + min(thread, last);
    let decay = exp(sum_at(chunk.first_row + last, head) - sum_at(row, head));
    factors[thread] = select(0.0, decay * factor_at(row, head, group), thread <= last);
  }
  workgroupBarrier();
  var most = 0.0;
  var most_of_x = 0.0;
  ${largest.join("\n  ")}
  most = subgroupMax(most);
  most_of_x = subgroupMax(most_of_x);
  if (lane == 0u) {
    most_of[subgroup] = vec2<f32>(most, most_of_x);
  }
  workgroupBarrier();
  var mosts = vec2<f32>();
  for (var i = 0u; i < ${threads / LANES}u; i += 1u) {
    mosts = max(mosts, most_of[i]);
  }
  let scale = scale_for(mosts.x, LARGEST);
  if (thread == 0u) {
    arena_put_one(params.end_scales + index, 1.0 / scale);
    arena_put_one(params.most_of_x + index, mosts.y);
  }
  ${steps.join("\n  ")}
  let first_sum = (end_at(chunk.sequence_chunk, first_channel + ${grid.down * BLOCK}u * grid_row) + ${grid.across * BLOCK}u * grid_col) / 4u;
  ${write.join("\n  ")}
}
`;
}
