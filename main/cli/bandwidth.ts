import { Worker } from "node:worker_threads";

/** Runs in its own thread: reads its piece of memory over and over (a search for what is not there is one SIMD pass). */
const reader = `
const { parentPort, workerData } = require("node:worker_threads");
const piece = Buffer.alloc(workerData.bytes, 1);
piece.indexOf(0);
parentPort.once("message", () => {
  const start = performance.now();
  let passes = 0;
  while (performance.now() - start < workerData.ms) { piece.indexOf(0); passes++; }
  parentPort.postMessage(passes * workerData.bytes / (performance.now() - start) * 1000);
});
parentPort.postMessage("ready");
`;

/**
 * Bytes a second that `threads` threads read from memory together, each its share of `bytes`: the limit of a
 * decoder that reads all its weights for every token. As many bytes as the weights, so that caches help as much.
 */
export async function measureReadBandwidth(bytes: number, threads: number): Promise<number> {
  const share = Math.max(1024 * 1024, Math.ceil(bytes / threads));
  const workers = Array.from(
    { length: threads },
    () => new Worker(reader, { eval: true, workerData: { bytes: share, ms: 300 } }),
  );
  const next = async (worker: Worker): Promise<unknown> =>
    await new Promise((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
    });
  await Promise.all(workers.map(next));
  const rates = workers.map(next);
  for (const worker of workers) worker.postMessage("go");
  const measured = await Promise.all(rates);
  return measured.reduce((sum: number, rate) => sum + Number(rate), 0);
}
