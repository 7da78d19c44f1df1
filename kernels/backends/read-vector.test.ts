import { expect, test } from "vitest";
import { forEachBackend } from "../testing/for-each-backend.ts";
import { seeded } from "../testing/seeded.ts";
import type { ReadRows } from "../spec/tensor.ts";

forEachBackend("readVector", (backend) => {
  test("a vector weight is read back as it was uploaded, a matrix is refused", async () => {
    const [rows, cols] = [3, 32];
    const values = seeded(1).normal(rows * cols);
    const read: ReadRows = async (first, count) =>
      new Uint8Array(values.slice(first * cols, (first + count) * cols).buffer);
    const spec = { name: "A", dtype: "f32", rows, cols } as const;
    const vector = await backend().uploadWeight({ ...spec, use: "vector" }, read);
    expect(await backend().readVector(vector)).toEqual(values);
    const matrix = await backend().uploadWeight({ ...spec, use: "matrix" }, read);
    await expect(backend().readVector(matrix)).rejects.toMatchObject({ code: "dtype" });
  });
});
