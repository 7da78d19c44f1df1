import { afterAll, beforeAll, describe } from "vitest";
import type { Backend, BackendName } from "../spec/backend.ts";
import { openBackend } from "./open-backend.ts";

const ALL: readonly BackendName[] = ["reference", "wasm", "webgpu"];

/** A software GPU on a busy machine takes its time to start. */
const OPENING_MS = 60_000;

/** The backends that tests run on: those named in TARN_TEST_BACKENDS ("reference,wasm"), by default all. */
function backendsUnderTest(): readonly BackendName[] {
  const wanted = process.env["TARN_TEST_BACKENDS"];
  if (wanted === undefined || wanted === "") return ALL;
  return wanted.split(",").map((name) => {
    const known = ALL.find((backend) => backend === name.trim());
    if (known === undefined)
      throw new Error(`TARN_TEST_BACKENDS names "${name}"; there are ${ALL.join(", ")}`);
    return known;
  });
}

/**
 * Registers one body of tests for every backend. A backend that cannot be opened fails its tests, it never skips them.
 * @param body registers tests; call `backend()` inside of them, not before
 */
export function forEachBackend(
  title: string,
  body: (backend: () => Backend, name: BackendName) => void,
): void {
  for (const name of backendsUnderTest()) {
    describe(`${title} on ${name}`, () => {
      let opened: Backend | undefined;
      beforeAll(async () => {
        opened = await openBackend(name);
      }, OPENING_MS);
      afterAll(async () => {
        await opened?.release();
      });
      body(() => {
        if (opened === undefined) throw new Error(`the ${name} backend was not opened`);
        return opened;
      }, name);
    });
  }
}
