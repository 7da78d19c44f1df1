import { expect, test } from "vitest";
import { opTrials } from "../../testing/op-trials.ts";
import { spawnTestThread } from "../../testing/test-thread.ts";
import { createWasmBackend } from "./backend.ts";

test.each(["rope", "attention, decode", "attention, prefill over f16"])(
  "threads give bit for bit what one thread gives: %s",
  async (name) => {
    const alone = await createWasmBackend({ threads: 1 });
    const team = await createWasmBackend({ threads: 3, spawnThread: spawnTestThread });
    expect(await opTrials[name](team)).toEqual(await opTrials[name](alone));
    await team.release();
    await alone.release();
  },
);
