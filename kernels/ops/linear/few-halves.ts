import { EIGHT, range } from "../../wgsl/sheets.ts";

/** Pieces of eight columns that a thread of few-halves.wgsl has. */
export function piecesOfThread(threads: number, columns: number): number {
  return Math.ceil(columns / (EIGHT * threads));
}

/**
 * The entry point of few-halves.wgsl, written out piece by piece: a thread keeps all its columns of a row from the first look at
 * them to the rounding, in names, as arrays are memory to some compilers. So nothing is read twice, and all is asked for at once.
 * @param threads of a row
 * @param columns of a row as it becomes, with the zeros at its end
 */
export function fewHalves(threads: number, columns: number): string {
  const pieces = range(piecesOfThread(threads, columns));
  const all = pieces.flatMap((i) => [`low${i}`, `high${i}`]);
  return `
@compute @workgroup_size(${threads})
fn few_halves(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = workgroup_index(workgroup, grid);
  if (row >= params.rows) {
    return;
  }
  ${pieces
    .flatMap((i) => [
      `let piece${i} = thread + ${i * threads}u;`,
      `let low${i} = factors_at(row, ${EIGHT}u * piece${i});`,
      `let high${i} = factors_at(row, ${EIGHT}u * piece${i} + ${EIGHT / 2}u);`,
    ])
    .join("\n  ")}
  var most = vec4<u32>();
  ${all.map((name) => `most = max(most, magnitudes(${name}.values));`).join("\n  ")}
  let squares = ${all.map((name) => `${name}.squares`).join(" + ")};
  let scale = scale_of_row(row, thread, most_in(most), squares);
  ${pieces.map((i) => `keep(row, piece${i}, scale * low${i}.values, scale * high${i}.values);`).join("\n  ")}
}
`;
}
