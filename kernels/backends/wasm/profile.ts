import { costOf, type CallCost } from "../../plan/cost.ts";
import type { OpCall } from "../../spec/op.ts";
import type { KernelTime } from "../../spec/profile.ts";
import { OPCODES, type Instruction, type Opcode } from "./instructions.ts";

/** What an instruction costs at least; nothing for one that only prepares another. */
export interface InstructionCost extends CallCost {
  readonly opcode: Opcode;
}

/** Instructions that work for the one beside them, which has the call's cost. */
const ANCILLARY: ReadonlySet<Opcode> = new Set([
  "quantize",
  "ssdScores",
  "attentionFinish",
  "expertSum",
]);

/** The cost of a call, at the instruction that does its work. */
export function costsOf(call: OpCall, instructions: readonly Instruction[]): InstructionCost[] {
  const main = instructions.findIndex(({ opcode }) => !ANCILLARY.has(opcode));
  return instructions.map(({ opcode }, index) => ({
    opcode,
    ...(index === main ? costOf(call) : { bytes: 0, flop: 0 }),
  }));
}

/** Counts what was run while a profile is taken; the times come from the kernels themselves. */
export class ProfileCounts {
  readonly #counts = new Map<Opcode, { calls: number; bytes: number; flop: number }>();

  add(costs: readonly InstructionCost[]): void {
    for (const { opcode, bytes, flop } of costs) {
      const count = this.#counts.get(opcode) ?? { calls: 0, bytes: 0, flop: 0 };
      count.calls += 1;
      count.bytes += bytes;
      count.flop += flop;
      this.#counts.set(opcode, count);
    }
  }

  /** What was counted, with the milliseconds of each opcode; begins anew. */
  take(milliseconds: Float64Array): KernelTime[] {
    const taken = [...this.#counts].map(([opcode, count]) => ({
      kernel: opcode,
      ...count,
      ms: milliseconds[OPCODES[opcode]] ?? 0,
    }));
    this.#counts.clear();
    milliseconds.fill(0);
    return taken;
  }
}
