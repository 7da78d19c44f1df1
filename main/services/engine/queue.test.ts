import { expect, test } from "vitest";
import { createQueue, type Rank } from "./queue.ts";

test("one at a time, by rank, and among equals in the order of their coming", async () => {
  const queue = createQueue();
  const order: string[] = [];
  let running = 0;
  const job = (name: string) => async (): Promise<string> => {
    expect(++running).toBe(1);
    order.push(name);
    await new Promise((resolve) => setTimeout(resolve, 1));
    running--;
    return name;
  };
  const all = (
    [
      ["background", "a"],
      ["asked", "b"],
      ["background", "c"],
      ["turn", "d"],
      ["asked", "e"],
      ["turn", "f"],
    ] as const satisfies readonly (readonly [Rank, string])[]
  ).map(([rank, name]) => queue.run(rank, job(name)));
  expect(await Promise.all(all)).toEqual(["a", "b", "c", "d", "e", "f"]);
  expect(order).toEqual(["d", "f", "b", "e", "a", "c"]);
});

test("work of a lower rank is told that a higher one waits, makes way and goes on where it was", async () => {
  const queue = createQueue();
  const order: string[] = [];
  const inSteps = async (rank: Rank, name: string, steps: number): Promise<void> => {
    for (let step = 0; step < steps;)
      step = await queue.run(rank, async () => {
        let at = step;
        while (at < steps && (at === step || !queue.isWanted(rank))) {
          order.push(`${name}${++at}`);
          await Promise.resolve();
          // What is more urgent comes in the middle of it.
          if (name === "a" && at === 2) mapped = inSteps("asked", "b", 3);
          if (name === "b" && at === 1) turn = queue.run("turn", async () => void order.push("c"));
        }
        return at;
      });
  };
  let mapped = Promise.resolve();
  let turn = Promise.resolve();
  await inSteps("background", "a", 4);
  await Promise.all([mapped, turn]);
  expect(order).toEqual(["a1", "a2", "b1", "c", "b2", "b3", "a3", "a4"]);
});

test("a job that fails is its caller's matter, and idle waits for all", async () => {
  const queue = createQueue();
  const refused = expect(
    queue.run("turn", async () => {
      throw new Error("no");
    }),
  ).rejects.toThrow("no");
  let isDone = false;
  void queue.run("background", async () => {
    isDone = true;
  });
  await queue.idle();
  expect(isDone).toBe(true);
  await refused;
  await queue.idle();
});
