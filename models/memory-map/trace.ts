import { scaledAdd } from "../../kernels/ops/scaled-add/scaled-add.ts";
import type { Operand, Operands, Recorder } from "../../kernels/spec/op.ts";
import type { Tensor } from "../../kernels/spec/tensor.ts";
import { gatedDeltaRetention } from "../../kernels/ops/gated-delta/gated-delta.retention.ts";
import type { OperandValues, RetentionRule } from "../../kernels/spec/retention.ts";
import { rgLruRetention } from "../../kernels/ops/rg-lru/rg-lru.retention.ts";
import { selectiveScanRetention } from "../../kernels/ops/selective-scan/selective-scan.retention.ts";
import { ssdRetention } from "../../kernels/ops/ssd/ssd.retention.ts";
import { wkv7Retention } from "../../kernels/ops/wkv7/wkv7.retention.ts";

/** The recurrences whose memory can be followed, by their op. Attention keeps every token, and has no share to tell. */
const RULES: ReadonlyMap<string, RetentionRule> = new Map([
  ["gated-delta", gatedDeltaRetention],
  ["rg-lru", rgLruRetention],
  ["selective-scan", selectiveScanRetention],
  ["ssd", ssdRetention],
  ["wkv7", wkv7Retention],
]);

/** A recurrence of a plan whose operands the plan gives as outputs. */
export interface TracedCall {
  readonly rule: RetentionRule;
  readonly operands: Operands;
  /** Index into the state layout. */
  readonly slot: number;
  /** Outputs of the plan by operand. */
  readonly outputs: Readonly<Record<string, number>>;
}

/**
 * A recorder that brings out the operands of the recurrences: whatever records into it needs not know.
 * What is recorded must have no outputs of its own (`logits: "none"`).
 * @param calls receives the recurrences in the order of the layers
 */
export function tracing(k: Recorder, calls: TracedCall[]): Recorder {
  let outputs = 0;
  return {
    ...k,
    record(declaration, operands) {
      const rule = RULES.get(declaration.name);
      if (rule !== undefined) {
        const traced: Record<string, number> = {};
        for (const name of rule.traced) {
          const x = tensorOperand(operands[name]);
          scaledAdd(k, { a: x, into: k.output(x.rows, x.cols) });
          traced[name] = outputs++;
        }
        const slot = tensorOperand(operands["state"]).buffer.index;
        calls.push({ rule, operands, slot, outputs: traced });
      }
      k.record(declaration, operands);
    },
  };
}

/** The operands of a call out of the outputs of a run. */
export function tracedValues(call: TracedCall, outputs: readonly Float32Array[]): OperandValues {
  return Object.fromEntries(
    Object.entries(call.outputs).map(([name, index]) => [name, outputs[index] ?? EMPTY]),
  );
}

const EMPTY = new Float32Array();

function tensorOperand(value: Operand | undefined): Tensor {
  if (typeof value === "object" && value !== null && "buffer" in value) return value;
  throw new TypeError("a traced operand is no tensor");
}
