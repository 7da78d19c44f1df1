import { describe, test } from "vitest";
import type { WeightDType } from "../../spec/dtype.ts";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp } from "../../testing/op-runner.ts";
import { randomPacked } from "../../testing/pack.ts";
import { seeded } from "../../testing/seeded.ts";
import { embedding } from "./embedding.ts";

interface Size {
  readonly batch: number;
  readonly length: number;
  readonly rows: number;
  readonly cols: number;
}

forEachBackend("embedding", (backend) => {
  test("gives the rows that the ids name", async () => {
    const table = Float32Array.from({ length: 12 }, (_, i) => i); // (4, 3)
    const { y } = await runOp(backend(), {
      batch: 2,
      length: 2,
      ids: Int32Array.of(3, 0, 1, 3),
      inputs: {},
      states: {},
      weights: { table: { rows: 4, cols: 3, values: table, use: "matrix" } },
      record: (k, { weights }) => embedding(k, weights.table),
    });
    expectAllClose(y, [9, 10, 11, 0, 1, 2, 3, 4, 5, 9, 10, 11], { absolute: 0, relative: 0 }, "y");
  });

  async function expectRows(dtype: WeightDType, size: Size): Promise<void> {
    const { batch, length, rows, cols } = size;
    const random = seeded(rows);
    const ids = random.integers(batch * length, rows);
    const values = randomPacked(random, dtype, rows, cols, 1);
    await expectLikeReference(
      backend(),
      {
        batch,
        length,
        ids,
        inputs: {},
        states: {},
        weights: { table: { rows, cols, dtype, values, use: "matrix" } },
        record: (k, { weights }) => embedding(k, weights.table),
      },
      // A difference of two products may be rounded once instead of twice.
      { absolute: dtype === "q4_k" || dtype === "q5_k" ? 1e-6 : 0, relative: 1e-6 },
    );
  }

  describe.each(["f32", "f16", "bf16", "q8_0", "q4_0"] as const)("of %s", (dtype) => {
    test.each([
      { batch: 1, length: 1, rows: 2, cols: 32 },
      { batch: 2, length: 3, rows: 7, cols: 96 },
      { batch: 1, length: 65, rows: 300, cols: 64 },
    ])("agrees with the reference: $batch × $length, ($rows, $cols)", async (size) => {
      await expectRows(dtype, size);
    });
  });

  describe.each(["q4_k", "q5_k", "q6_k"] as const)("of %s", (dtype) => {
    test.each([
      { batch: 1, length: 1, rows: 2, cols: 256 },
      { batch: 2, length: 13, rows: 29, cols: 768 },
    ])("agrees with the reference: $batch × $length, ($rows, $cols)", async (size) => {
      await expectRows(dtype, size);
    });
  });
});
