/**
 * Workgroup memory of kernels on matrix units: arrays of vec4<u32>, each 16 bytes eight f16. Why it is laid out so, as measured:
 * docs/decisions/0022.
 */

/** Rows of a block, and of a sheet: what a matrix's larger side may be. */
export const BLOCK = 16;
/** Values of a row of a sheet: those of several blocks side by side, so that a row is long enough for Tint. */
export const SHEET_COLUMNS = 128;
/** f16 values in 16 bytes, which a thread brings into workgroup memory at a time. */
export const EIGHT = 8;
/** 16-byte vectors of a sheet's row, with one of padding: rows lie in different banks of memory. */
export const SHEET_ROW = SHEET_COLUMNS / EIGHT + 1;
/** What Tint believes a matrix at the end of a sheet reaches to; it counts 16 vectors where there are 16 values. */
export const SHEET_VECTORS = BLOCK * SHEET_ROW + 16;

/** 0 … count − 1, for statements that are written out. */
export function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}
