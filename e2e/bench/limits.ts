/** What the device allows: the bandwidth that decode cannot exceed. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { z } from "zod";
import { measureReadBandwidth } from "../../main/cli/bandwidth.ts";

const run = promisify(execFile);

/** A rate of the device, measured. */
export interface Limit {
  /** "copy (PyTorch), GB/s". */
  readonly what: string;
  readonly value: number;
}

/** Of the processor: what `threads` threads read from memory together, GB/s. */
export async function cpuLimits(bytes: number, threads: number): Promise<Limit[]> {
  const bandwidth = await measureReadBandwidth(bytes, threads);
  return [{ what: "read, GB/s", value: bandwidth / 1e9 }];
}

/** PyTorch's copy (read and written bytes) and matrix product: what others reach on this GPU. */
const PYTORCH = `
import json, torch
def rate(work, amount):
    for _ in range(3): work()
    torch.cuda.synchronize()
    times = []
    for _ in range(9):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(10): work()
        end.record(); torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 10 / 1000)
    return amount / sorted(times)[4]
x = torch.empty(1 << 30, dtype=torch.uint8, device="cuda"); y = torch.empty_like(x)
a = torch.randn(4096, 4096, device="cuda", dtype=torch.float16); b = torch.randn_like(a)
print(json.dumps([
    {"what": "copy (PyTorch), GB/s", "value": rate(lambda: y.copy_(x), 2 * x.numel()) / 1e9},
    {"what": "f16 product 4096 x 4096 x 4096 (PyTorch), TFLOP/s", "value": rate(lambda: a @ b, 2 * 4096**3) / 1e12},
]))
`;

const limits = z.array(z.object({ what: z.string(), value: z.number() }));

/** Of the GPU by PyTorch; null where there is no PyTorch with CUDA. */
export async function pytorchLimits(): Promise<Limit[] | null> {
  try {
    const { stdout } = await run("python3", ["-c", PYTORCH]);
    return limits.parse(JSON.parse(stdout));
  } catch (error) {
    console.error(`PyTorch's limits are not measured: ${String(error).trim().split("\n").at(-1)}`);
    return null;
  }
}
