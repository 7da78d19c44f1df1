/**
 * What the entry points of ssd on matrix units are written with, statement by statement, as those of products are and for their
 * reasons (matrix-product.ts, docs/decisions/0022). What they share in WGSL is ssd-matrix.wgsl.
 *
 * Factors stand in sheets as they lie in memory, so that nothing is transposed: a matrix is loaded by rows or by columns.
 */
import { BLOCK, EIGHT, range, SHEET_COLUMNS, SHEET_ROW, SHEET_VECTORS } from "../../wgsl/sheets.ts";

/** Tokens of a chunk. */
export const CHUNK = 128;
/** dState. */
export const STATES = 128;
/** Channels of a tile; headDim is a multiple. */
export const TILE_P = 64;
/** Lanes of a subgroup. */
export const LANES = 32;
/** 16-byte vectors of STATES f16 values. */
export const STATE_VECTORS = STATES / EIGHT;
/** 16-byte vectors of a tile's channels in f16. */
export const TILE_VECTORS = TILE_P / EIGHT;

/** How a workgroup's subgroups divide its sums: `rows` × `cols` of them, each with `down` × `across` matrices. */
export interface Grid {
  readonly rows: number;
  readonly cols: number;
  readonly down: number;
  readonly across: number;
}

/** WGSL expressions of a sheet, and of a vector in it. */
export interface Place {
  readonly sheet: string;
  readonly vector: string;
}

/** Sheets whose rows are not those of matrices, but their other side: tokens, of which a matrix takes 16 of several columns. */
export interface TokenSheets {
  readonly count: number;
  /** Where a thread puts 16 bytes, by WGSL expressions of the token and of the vector among its values. */
  to(token: string, vector: string): Place;
  /** Where a matrix begins: of 16 tokens, the `index`-th of a group of values. */
  matrix(group: string, tokens: number, index: number): Place;
}

/**
 * Lays out `tokens` rows of `values` f16 values. A group of values is what a subgroup multiplies; those of several blocks of
 * 16 tokens stand side by side, so that of a matrix's place only the sheet depends on the subgroup.
 */
export function tokenSheets(
  first: number,
  { tokens, values, group }: Readonly<Record<"tokens" | "values" | "group", number>>,
): TokenSheets {
  const blocks = SHEET_COLUMNS / group;
  const sheetsOfGroup = Math.ceil(tokens / BLOCK / blocks);
  const vectors = group / EIGHT;
  return {
    count: (values / group) * sheetsOfGroup,
    to: (token, vector) => ({
      sheet: `${first}u + ${vector} / ${vectors}u * ${sheetsOfGroup}u + ${token} / ${BLOCK * blocks}u`,
      vector: `${token} % ${BLOCK}u * ${SHEET_ROW}u + ${token} / ${BLOCK}u % ${blocks}u * ${vectors}u + ${vector} % ${vectors}u`,
    }),
    matrix: (groupIndex, block, index) => ({
      sheet: `${first + Math.floor(block / blocks)}u + ${groupIndex} * ${sheetsOfGroup}u`,
      vector: `${(block % blocks) * vectors + (index * BLOCK) / EIGHT}u`,
    }),
  };
}

/** Writes 16 bytes into a sheet. */
export function put({ sheet, vector }: Place, value: string): string {
  return `sheets[${sheet}][${vector}] = ${value};`;
}

/** Loads a factor whose rows, or columns, are those of the sheet. */
export function load(
  kind: "Left" | "Right",
  major: "row" | "col",
  name: string,
  { sheet, vector }: Place,
): string {
  return `let ${name} = subgroupMatrixLoad<${kind}, ${major}_major>(&sheets[${sheet}], ${vector}, ${SHEET_ROW}u);`;
}

/** The name of a subgroup's matrix of sums. */
export function sum(row: number, col: number): string {
  return `sums${row}_${col}`;
}

/** A subgroup's sums, all zero. */
export function declareSums({ down, across }: Grid): string {
  return range(down)
    .flatMap((i) => range(across).map((j) => `var ${sum(i, j)}: Sums;`))
    .join("\n  ");
}

/** Adds a product. */
export function addProduct(to: string, left: string, right: string): string {
  return `${to} = subgroupMatrixMultiplyAccumulate(${left}, ${right}, ${to});`;
}

/** Leaves sums in a sheet, as f32. */
export function store(from: string, { sheet, vector }: Place): string {
  return `subgroupMatrixStore<row_major>(&sheets[${sheet}], ${vector}, ${from}, ${SHEET_ROW}u);`;
}

/** Four sums in a sheet, by WGSL expressions: their row, their vector in the row and in the sheet. */
interface Quad {
  readonly row: string;
  readonly col: string;
  readonly vector: string;
}

/** Which of the sums that a subgroup has left in a sheet, 16 rows of `across` matrices, a lane takes from there. */
export function quadsOf(across: number): Quad[] {
  const quadsInRow = (across * BLOCK) / 4;
  return range((BLOCK * quadsInRow) / LANES).map((i) => {
    const row = `((lane + ${i * LANES}u) / ${quadsInRow}u)`;
    const col = `(lane + ${i * LANES}u) % ${quadsInRow}u`;
    return { row, col, vector: `${row} * ${SHEET_ROW}u + ${col}` };
  });
}

/** The head of an entry point, with its sheets. */
export function entryPoint(name: string, threads: number, sheets: number): string {
  return `
var<workgroup> sheets: array<array<vec4<u32>, ${SHEET_VECTORS}>, ${sheets}>;

@compute @workgroup_size(${threads})
fn ${name}(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let index = workgroup_index(workgroup, grid);`;
}
