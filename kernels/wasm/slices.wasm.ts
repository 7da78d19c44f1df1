// Elementwise ops cut each row into slices, so that a decode step's only row still keeps all threads busy.

/** Columns of a piece of work; a multiple of 4. */
export const SLICE: i32 = 512;

export function sliceCount(cols: i32): i32 {
  return (cols + SLICE - 1) / SLICE;
}

export function sliceEnd(from: i32, cols: i32): i32 {
  return min(from + SLICE, cols);
}

/** Four values, or the `count` < 4 that are left; the other lanes are 0. */
@inline
export function loadSome(from: usize, count: i32): v128 {
  return count >= 4 ? v128.load(from) : loadTail(from, count);
}

/** Stores four values, or the first `count` < 4. */
@inline
export function storeSome(to: usize, values: v128, count: i32): void {
  if (count >= 4) v128.store(to, values);
  else storeTail(to, values, count);
}

function loadTail(from: usize, count: i32): v128 {
  let values = v128.load32_zero(from);
  if (count > 1) values = f32x4.replace_lane(values, 1, load<f32>(from, 4));
  if (count > 2) values = f32x4.replace_lane(values, 2, load<f32>(from, 8));
  return values;
}

function storeTail(to: usize, values: v128, count: i32): void {
  store<f32>(to, f32x4.extract_lane(values, 0));
  if (count > 1) store<f32>(to, f32x4.extract_lane(values, 1), 4);
  if (count > 2) store<f32>(to, f32x4.extract_lane(values, 2), 8);
}
