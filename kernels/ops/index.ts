import type { OpDeclaration, Operands } from "../spec/op.ts";
import type { ReferenceMemory, ReferenceOp } from "../spec/reference.ts";
import { causalConv1dRef } from "./causal-conv1d/causal-conv1d.ref.ts";
import { causalConv1dOp } from "./causal-conv1d/causal-conv1d.ts";
import { embeddingRef } from "./embedding/embedding.ref.ts";
import { embeddingOp } from "./embedding/embedding.ts";
import { gatedRmsNormRef } from "./gated-rms-norm/gated-rms-norm.ref.ts";
import { gatedRmsNormOp } from "./gated-rms-norm/gated-rms-norm.ts";
import { linearRef } from "./linear/linear.ref.ts";
import { linearOp } from "./linear/linear.ts";
import { rmsNormRef } from "./rms-norm/rms-norm.ref.ts";
import { rmsNormOp } from "./rms-norm/rms-norm.ts";
import { selectiveScanRef } from "./selective-scan/selective-scan.ref.ts";
import { selectiveScanOp } from "./selective-scan/selective-scan.ts";
import { ssdRef } from "./ssd/ssd.ref.ts";
import { ssdOp } from "./ssd/ssd.ts";

/** One op: its declaration, and the plain implementation that judges all others. */
export interface Op {
  readonly declaration: OpDeclaration;
  readonly reference: (memory: ReferenceMemory, operands: Operands) => void;
}

/** Every op there is, under the name that its declaration carries. */
export const ops = {
  embedding: op(embeddingOp, embeddingRef),
  "rms-norm": op(rmsNormOp, rmsNormRef),
  "gated-rms-norm": op(gatedRmsNormOp, gatedRmsNormRef),
  linear: op(linearOp, linearRef),
  "causal-conv1d": op(causalConv1dOp, causalConv1dRef),
  "selective-scan": op(selectiveScanOp, selectiveScanRef),
  ssd: op(ssdOp, ssdRef),
} satisfies Record<string, Op>;

export type OpName = keyof typeof ops;

/** True for the name of an op of this registry. */
export function isOpName(name: string): name is OpName {
  return Object.hasOwn(ops, name);
}

function op<TypedOperands>(declaration: OpDeclaration, reference: ReferenceOp<TypedOperands>): Op {
  return {
    declaration,
    // A call's operands are what the op's own binding recorded, which `satisfies TypedOperands` there.
    reference: (memory, operands) => reference(memory, operands as TypedOperands),
  };
}
