import { beforeAll, expect, test } from "vitest";
import { buildSoak, soak } from "./soak.ts";

beforeAll(buildSoak);

test("histories that are killed at random moments go on with the same bits as without it", async () => {
  const failures: string[] = [];
  let played = 0;
  await soak(
    { histories: 20, seed: 1, models: ["mamba2", "bamba"], together: 5 },
    (model, { seed, failure }) => {
      played++;
      if (failure !== null) failures.push(`${model} ${seed}: ${failure}`);
    },
  );
  expect(failures).toEqual([]);
  expect(played).toBe(20);
});
