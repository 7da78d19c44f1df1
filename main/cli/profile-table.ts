import type { EngineClient } from "../engine/client.ts";
import type { KernelTime, ModelInfo } from "../../models/engine/protocol.ts";
import { greedySampler } from "./samplers.ts";

/** Where the time of one kind of run goes. */
export interface Profile {
  /** Tokens that the rows are the sum of. */
  readonly tokens: number;
  readonly rows: readonly KernelTime[];
  /** What the device's memory copies, read and written bytes together; null where that is not known. */
  readonly bytesPerSecond: number | null;
}

/** Times every kernel while tokens are decoded; null where the backend has no clock for them. */
export async function profileDecode(
  engine: EngineClient,
  model: ModelInfo,
  prompt: Int32Array,
  tokens: number,
): Promise<Profile | null> {
  const { session } = await engine.call("create", {});
  const generate = { session, sampler: greedySampler, stopIds: [], keepLogits: false };
  await engine.call("prefill", { session, ids: prompt, chunk: null, logits: "last" });
  // The first runs compile and wake the device.
  await engine.call("generate", { ...generate, maxTokens: 4 });
  return await profiled(engine, model, tokens, async () => {
    await engine.call("generate", { ...generate, maxTokens: tokens });
    await engine.call("free", { session });
  });
}

/** The same while a prompt is read. */
export async function profilePrefill(
  engine: EngineClient,
  model: ModelInfo,
  prompt: Int32Array,
): Promise<Profile | null> {
  const read = async (): Promise<void> => {
    const { session } = await engine.call("create", {});
    await engine.call("prefill", { session, ids: prompt, chunk: null, logits: "last" });
    await engine.call("free", { session });
  };
  await read();
  return await profiled(engine, model, prompt.length, read);
}

async function profiled(
  engine: EngineClient,
  { device }: ModelInfo,
  tokens: number,
  run: () => Promise<void>,
): Promise<Profile | null> {
  if (device.backend === "reference") return null;
  await engine.call("profile", { on: true });
  await run();
  const { rows, bytesPerSecond } = await engine.call("profile", { on: false });
  return rows === null ? null : { tokens, rows, bytesPerSecond };
}

/**
 * A line a kernel, the longest first: calls and µs a token, its share of the time, GB/s, GFLOP/s, and the GB/s as a share
 * of the device's copy rate.
 */
export function profileTable(title: string, { tokens, rows, bytesPerSecond }: Profile): string {
  const total = rows.reduce((sum, { ms }) => sum + ms, 0);
  const lines = rows
    .toSorted((a, b) => b.ms - a.ms)
    .map(({ kernel, calls, ms, bytes, flop }) => {
      const rate = (amount: number): number => amount / (ms * 1e6);
      return [
        kernel,
        (calls / tokens).toFixed(calls < tokens ? 2 : 0),
        ((ms * 1000) / tokens).toFixed(1),
        percent(ms, total),
        bytes === 0 ? "" : rate(bytes).toFixed(1),
        flop === 0 ? "" : rate(flop).toFixed(1),
        bytes === 0 || bytesPerSecond === null ? "" : percent(rate(bytes) * 1e9, bytesPerSecond),
      ];
    });
  const head = ["kernel", "calls/token", "µs/token", "time", "GB/s", "GFLOP/s", "of copy"];
  const widths = head.map((name, column) =>
    Math.max(name.length, ...lines.map((line) => (line[column] ?? "").length)),
  );
  const print = (line: readonly string[]): string =>
    line
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join("  ");
  const copy = bytesPerSecond === null ? "" : `; copy ${(bytesPerSecond / 1e9).toFixed(0)} GB/s`;
  return [
    `${title}: ${((total * 1000) / tokens).toFixed(1)} µs a token in kernels, each timed alone${copy}`,
    "",
    print(head),
    ...lines.map(print),
    "",
  ].join("\n");
}

function percent(part: number, whole: number): string {
  return `${((100 * part) / whole).toFixed(1)} %`;
}
