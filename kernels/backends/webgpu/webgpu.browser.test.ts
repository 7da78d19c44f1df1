/** Every op inside a Web Worker of Chromium, where the engine lives: WebGPU and WASM against the reference. */
import { beforeAll, describe, expect, test } from "vitest";
import type { BackendName } from "../../spec/backend.ts";
import { expectAllClose } from "../../testing/all-close.ts";
import { opTrials } from "../../testing/op-trials.ts";
import { kernelTolerance } from "../../testing/tolerances.ts";
import type { TrialsReply } from "../../testing/trials.worker.ts";

type Trials = Exclude<TrialsReply, { failed: string }>;

/** @throws Error with what the worker reported, or what kept it from starting */
async function runInWorker(backend: BackendName): Promise<Trials> {
  const worker = new Worker(new URL("../../testing/trials.worker.ts", import.meta.url), {
    type: "module",
  });
  try {
    const reply = await new Promise<TrialsReply>((resolve, reject) => {
      worker.addEventListener("message", ({ data }: MessageEvent<TrialsReply>) => resolve(data));
      worker.addEventListener("error", ({ message }) =>
        reject(new Error(`the worker failed: ${message}`)),
      );
      worker.postMessage(backend);
    });
    if ("failed" in reply) throw new Error(reply.failed);
    return reply;
  } finally {
    worker.terminate();
  }
}

test("pages are isolated, so that threads may share memory", () => {
  expect(crossOriginIsolated).toBe(true);
});

describe.each(["webgpu", "wasm"] as const)("%s in a Web Worker", (name) => {
  let expected: Trials;
  let actual: Trials;
  beforeAll(async () => {
    expected = await runInWorker("reference");
    actual = await runInWorker(name);
  });

  test("is the backend that was asked for", () => {
    expect(actual.device.backend).toBe(name);
  });

  test.each(Object.keys(opTrials))("agrees with the reference: %s", (trial) => {
    const { y, states } = expected.results[trial];
    expectAllClose(actual.results[trial].y, y, kernelTolerance(y, 257), "y");
    for (const [slot, values] of Object.entries(states)) {
      expectAllClose(
        actual.results[trial].states[slot],
        values,
        kernelTolerance(values, 257),
        slot,
      );
    }
  });
});
