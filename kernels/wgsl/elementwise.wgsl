// Where a thread of an elementwise op stands: workgroups of 64 threads go along a row, then to the next
// (elementwiseGrid in elementwise.ts).
struct Place {
  row: u32,
  col: u32,
}

fn place_of(workgroup: u32, thread: u32, cols: u32) -> Place {
  let per_row = (cols + 63u) / 64u;
  return Place(workgroup / per_row, workgroup % per_row * 64u + thread);
}
