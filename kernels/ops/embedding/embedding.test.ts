import { describe, test } from "vitest";
import { expectAllClose } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp } from "../../testing/op-runner.ts";
import { randomPacked } from "../../testing/pack.ts";
import { seeded } from "../../testing/seeded.ts";
import { embedding } from "./embedding.ts";

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

  describe.each(["f32", "f16", "bf16", "q8_0"] as const)("of %s", (dtype) => {
    test.each([
      { batch: 1, length: 1, rows: 2, cols: 32 },
      { batch: 2, length: 3, rows: 7, cols: 96 },
      { batch: 1, length: 65, rows: 300, cols: 64 },
    ])(
      "agrees with the reference: $batch × $length, ($rows, $cols)",
      async ({ batch, length, rows, cols }) => {
        const random = seeded(rows);
        await expectLikeReference(
          backend(),
          {
            batch,
            length,
            ids: random.integers(batch * length, rows),
            inputs: {},
            states: {},
            weights: {
              table: {
                rows,
                cols,
                dtype,
                values: randomPacked(random, dtype, rows, cols, 1),
                use: "matrix",
              },
            },
            record: (k, { weights }) => embedding(k, weights.table),
          },
          { absolute: 0, relative: 1e-6 },
        );
      },
    );
  });
});
